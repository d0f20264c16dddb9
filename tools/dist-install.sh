#!/bin/sh
# Installs the header, the libraries, what pkg-config and CMake need, and the program.
#
# usage: install.sh [PREFIX]      or PREFIX=… install.sh; /usr/local by default. DESTDIR is put before it
set -eu
prefix=${1:-${PREFIX:-/usr/local}}
case $prefix in
/*) ;;
*)
    echo "install.sh: give an absolute path, such as /usr/local, instead of $prefix" >&2
    exit 2
    ;;
esac
to=${DESTDIR:-}$prefix
case $to in
/*) ;;
*) to=$PWD/$to ;;
esac
cd "$(dirname "$0")"

mkdir -p "$to"
cp -R bin include lib share "$to/"
# The archive is made for /usr/local.
for file in lib/pkgconfig/b24_messageservice.pc share/b24-messageservice/*; do
    sed "s|/usr/local|$prefix|g" "$file" >"$to/$file"
done
cat <<END_OF_NOTE
installed in $to
Programs find the library after ldconfig, run as root, if /etc/ld.so.conf names $prefix/lib, and else if
they are linked with -Wl,-rpath,$prefix/lib. If pkg-config does not find it:
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
END_OF_NOTE
