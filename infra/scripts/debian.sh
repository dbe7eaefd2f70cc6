# Sourced by the other scripts: installs Debian packages, as root or through sudo.
debian() {
    local as=()
    [ "$(id -u)" = 0 ] || as=(sudo)
    "${as[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get install -qy --no-install-recommends "$@"
}
