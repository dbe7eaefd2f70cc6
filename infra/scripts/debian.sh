# Sourced by the other scripts: installs Debian packages, as root or through sudo.
debian() {
    local as=()
    [ "$(id -u)" = 0 ] || as=(sudo)
    "${as[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get install -qy --no-install-recommends "$@"
}

# The same for packages with services, none of which is to run here: the tests start their own.
without_services() {
    local as=() policy=/usr/sbin/policy-rc.d made=
    [ "$(id -u)" = 0 ] || as=(sudo)
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as[@]}" tee $policy >/dev/null
        "${as[@]}" chmod +x $policy
        made=1
    fi
    debian "$@" || { [ -z "$made" ] || "${as[@]}" rm -f $policy; return 1; }
    [ -z "$made" ] || "${as[@]}" rm -f $policy
}

# PostgreSQL without the cluster that its package makes (which is what its own images do, too).
postgresql() {
    local as=() settings=/etc/postgresql-common/createcluster.conf
    [ "$(id -u)" = 0 ] || as=(sudo)
    without_services postgresql-common
    "${as[@]}" cp $settings $settings.before
    "${as[@]}" sed -ri 's/^#?(create_main_cluster) .*$/\1 = false/' $settings
    without_services postgresql || { "${as[@]}" mv $settings.before $settings; return 1; }
    "${as[@]}" mv $settings.before $settings
}
