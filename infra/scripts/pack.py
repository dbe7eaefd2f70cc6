"""Archives and lists of a release, the same bytes from the same input.

    pack.py tar OUT.tar.gz FOLDER
    pack.py zip OUT.zip PROGRAM                        (as 'bootstrap', which Lambda starts)
    pack.py components SBOM.json LICENCES.txt PACKAGE…  (of the workspace, and all that they stand on)

Times are SOURCE_DATE_EPOCH, seconds of Unix time.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time
import tomllib
import uuid
import zipfile

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
# What zip can say at the earliest.
EARLIEST = (1980, 1, 1, 0, 0, 0)


def tar(out, folder):
    folder = pathlib.Path(folder)
    with open(out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(str(path.relative_to(folder.parent)))
                entry.size = path.stat().st_size
                entry.mtime = EPOCH
                entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with path.open("rb") as file:
                    archive.addfile(entry, file)


def zip_program(out, program):
    entry = zipfile.ZipInfo("bootstrap", max(time.gmtime(EPOCH)[:6], EARLIEST))
    entry.compress_type = zipfile.ZIP_DEFLATED
    # Of Unix, a plain file that may be executed.
    entry.create_system = 3
    entry.external_attr = 0o100755 << 16
    with zipfile.ZipFile(out, "w", compresslevel=9) as archive:
        archive.writestr(entry, pathlib.Path(program).read_bytes())


def components(sbom, licences, roots):
    """CycloneDX 1.6, and the texts of the licences, of everything that the packages are linked with."""
    told = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"],
        check=True,
        capture_output=True,
    )
    metadata = json.loads(told.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    used = linked(metadata, [id for id, package in packages.items() if package["name"] in roots])
    third = sorted((packages[id] for id in used if packages[id]["source"]), key=reference)
    own = [package for package in packages.values() if package["name"] in roots]

    lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text())
    hashes = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH)),
            "component": {"type": "application", "name": "postern", "version": own[0]["version"]},
        },
        "components": [component(package, hashes) for package in third],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    pathlib.Path(sbom).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    pathlib.Path(licences).write_text(texts(third))


def linked(metadata, roots):
    """The ids of the packages that `roots` stand on: not what only builds or tests them."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, left = set(), list(roots)
    while left:
        id = left.pop()
        if id in found:
            continue
        found.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                left.append(dependency["pkg"])
    return found


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, hashes):
    known = hashes.get((package["name"], package["version"]))
    return {
        "type": "library",
        "bom-ref": reference(package),
        "purl": reference(package),
        "name": package["name"],
        "version": package["version"],
        # Cargo's older way to write a choice.
        "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}],
        "hashes": [{"alg": "SHA-256", "content": known}] if known else [],
    }


def texts(packages):
    """Every text once, under the names of all who use it."""
    by_text = {}
    for package in packages:
        folder = pathlib.Path(package["manifest_path"]).parent
        files = [path for path in folder.iterdir() if path.is_file() and is_licence(path.name)]
        for path in sorted(files):
            text = path.read_text(errors="replace").strip()
            by_text.setdefault(text, []).append(f"{package['name']} {package['version']}")
    parts = ["Postern's programs hold the following libraries.\n"]
    for package in packages:
        licence = package["license"] or "see its text"
        parts.append(f"{package['name']} {package['version']}: {licence}\n")
    for text, users in sorted(by_text.items(), key=lambda one: one[1]):
        parts.append(f"\n{'=' * 78}\n{', '.join(dict.fromkeys(users))}\n\n{text}\n")
    return "".join(parts)


def is_licence(name):
    return name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"))


def main(arguments):
    match arguments:
        case ["tar", out, folder]:
            tar(out, folder)
        case ["zip", out, program]:
            zip_program(out, program)
        case ["components", sbom, licences, *roots] if roots:
            components(sbom, licences, roots)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
