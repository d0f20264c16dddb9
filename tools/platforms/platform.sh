# Sourced by the programs of this directory: finds a platform in the table, or refuses it with the reason.

# find_platform NAME: sets platform, rust, libc, archive, wheels and linker.
find_platform() {
    local table
    table=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/table
    while IFS='|' read -r platform rust libc archive wheels linker; do
        [ "$platform" != "$1" ] || return 0
    done < <(sed '/^#/d; s/ *| */|/g' "$table")
    echo "there is no platform $1: a release is for $(platforms | paste -sd ' '); for another Linux, build" \
        "from the sources on it" >&2
    return 2
}

# The names of all platforms, one a line.
platforms() {
    sed '/^#/d; s/ *|.*//' "$(dirname "${BASH_SOURCE[0]}")/table"
}
