"""A TUF repository made with python-tuf, and a door that serves it.

What is published is a dictionary from paths to bytes, as a bucket is: a case can alter, remove or
add anything in it, and sees which paths were asked for.
"""

import datetime
import http.server
import json
import threading
import urllib.parse

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

TOP = ("root", "timestamp", "snapshot", "targets")


def days(number):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(days=number)


def quote(role):
    return urllib.parse.quote(role, safe="")


class Repository:
    def __init__(self, consistent=True, hashes=False):
        self.hashes = hashes
        self.files = {}
        self.asked = []
        self.before = {}
        expires = days(30)
        self.roles = {
            "root": Root(expires=expires, consistent_snapshot=consistent),
            "timestamp": Timestamp(expires=expires),
            "snapshot": Snapshot(expires=expires),
            "targets": Targets(expires=expires),
        }
        self.signers = {}
        for role in TOP:
            self.add_key(role)
        self.publish("root", "targets", "snapshot", "timestamp")

    def __getattr__(self, name):
        try:
            return self.__dict__["roles"][name]
        except KeyError:
            raise AttributeError(name) from None

    # Keys.

    def add_key(self, role, signer=None, delegator="root", sign=True):
        signer = signer or CryptoSigner.generate_ecdsa()
        self.roles[delegator].add_key(signer.public_key, role)
        if sign:
            self.signers.setdefault(role, []).append(signer)
        return signer

    def replace_keys(self, role):
        self.root.roles[role].keyids.clear()
        self.signers[role] = []
        self.add_key(role)

    # Content.

    def delegate(self, delegator, name, paths=("*",), terminating=False, **other):
        parent = self.roles[delegator]
        if parent.delegations is None:
            parent.delegations = Delegations({}, roles={})
        paths = None if "path_hash_prefixes" in other else list(paths)
        role = DelegatedRole(name, [], 1, terminating, paths, **other)
        parent.delegations.roles[name] = role
        self.roles.setdefault(name, Targets(expires=days(30)))
        # One that is delegated to twice has one key.
        signers = self.signers.get(name)
        self.add_key(name, signers[0] if signers else None, delegator, sign=not signers)

    def delegate_bins(self, delegator, bits, prefix="bin"):
        """To 2^bits roles by the hash of a path, all with one key, and their names."""
        parent = self.roles[delegator]
        bins = SuccinctRoles([], 1, bits, prefix)
        parent.delegations = Delegations({}, None, bins)
        signer = CryptoSigner.generate_ecdsa()
        parent.add_key(signer.public_key)
        names = list(bins.get_roles())
        for name in names:
            self.roles[name] = Targets(expires=days(30))
            self.signers[name] = [signer]
        return names

    def add_file(self, path, content, role="targets", algorithms=("sha256",), listed=True):
        target = TargetFile.from_data(path, content, list(algorithms))
        if listed:
            self.roles[role].targets[path] = target
        for value in target.hashes.values():
            self.files[self.target_path(path, value)] = content
        return target

    def target_path(self, path, hash_value):
        if not self.root.consistent_snapshot:
            return f"targets/{path}"
        folder, slash, name = path.rpartition("/")
        return f"targets/{folder}{slash}{hash_value}.{name}"

    # Publishing.

    def publish(self, *roles, bump=True):
        """Signs the roles in this order, with the next version, and tells who pins them."""
        for role in roles:
            signed = self.roles[role]
            if bump and role in self.before:
                signed.version += 1
            content = self.sign(role)
            self.before[role] = content
            self.files[self.metadata_path(role)] = content
            pin = MetaFile(signed.version)
            if self.hashes:
                pin = MetaFile.from_data(signed.version, content, ["sha256"])
            if role == "snapshot":
                self.timestamp.snapshot_meta = pin
            elif role not in TOP or role == "targets":
                self.snapshot.meta[f"{role}.json"] = pin

    def publish_all(self):
        self.publish("targets", "snapshot", "timestamp")

    def sign(self, role):
        metadata = Metadata(self.roles[role])
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=True))

    def change_signatures(self, path, change):
        """Makes the list of a file's signatures another one, which python-tuf might not write."""
        content = json.loads(self.files[f"metadata/{path}"])
        change(content["signatures"])
        self.files[f"metadata/{path}"] = json.dumps(content).encode()

    def metadata_path(self, role):
        version = self.roles[role].version
        if role == "root" or (self.root.consistent_snapshot and role != "timestamp"):
            return f"metadata/{version}.{quote(role)}.json"
        return f"metadata/{quote(role)}.json"

    # Serving.

    def asked_roles(self):
        """The metadata that was asked for, without what comes before it and after it."""
        names = (path.removeprefix("metadata/") for path in self.asked)
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]


class Door:
    """Serves one repository."""

    def __init__(self, repository):
        door = self
        self.repository = repository
        #: Paths that fail, and how: a status, or a function of the handler.
        self.faults = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                door.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        serve.start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def answer(self, handler):
        path = handler.path.lstrip("/")
        if path.startswith("targets/"):
            path = urllib.parse.unquote(path)
        self.repository.asked.append(path)
        fault = self.faults.get(path)
        if callable(fault):
            return fault(handler)
        content = self.repository.files.get(path)
        if fault or content is None:
            return handler.send_error(fault or 404)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        return handler.wfile.write(content)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
