#!/bin/bash
# Builds what users of the emulator install, into DIST: the Python wheel with the program in it, and an
# archive of the program and the PHP package. Each is then used as its README shows, by a user who
# has no Rust, together with the wheel and the archive of b24-messageservice in the same directory.
set -euo pipefail
cd "$(dirname "$0")"
dist=$(realpath "$DIST")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../Cargo.toml | head -n 1)
archive=b24-portal-$version-$(uname -m)-linux
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -f "$dist"/b24_portal-*.whl "$dist"/b24-portal-*
maturin build --quiet --release --locked --zig --compatibility manylinux2014 --out "$dist"
wheel=$(ls "$dist"/b24_portal-*.whl)

mkdir -p "$work/$archive/bin"
python3 -m zipfile -e "$wheel" "$work/wheel"
install -m 755 "$work/wheel/b24_portal-$version.data/scripts/b24-portal" "$work/$archive/bin/"
cp README.md ../LICENSE-MIT ../LICENSE-APACHE "$work/$archive/"
git -C .. archive HEAD:emulator/php --prefix php/ autoload.php composer.json src | tar -x -C "$work/$archive"
mkdir "$work/$archive/php/bin"
ln "$work/$archive/bin/b24-portal" "$work/$archive/php/bin/"
tar -C "$work" --owner 0 --group 0 --numeric-owner -czf "$dist/$archive.tar.gz" "$archive"

# The README's example in that language.
example() {
    awk -v fence="^\`\`\`$1\$" '$0 ~ fence { on = 1; next } /^```$/ { on = 0 } on' README.md
}

as_user() {
    (cd "$work/user" && env -i HOME="$work/user" PATH=/usr/bin:/bin "$@")
}

echo "emulator: the wheel, with pytest"
mkdir "$work/user"
example python >"$work/user/test_receipts.py"
pytest=$(grep '^pytest==' ../bindings/python/requirements-dev.txt)
as_user python3 -m venv venv
# As `pip install b24-messageservice[testing]`, from these files.
library=$(ls "$dist"/b24_messageservice-*.whl)
as_user venv/bin/pip install --quiet --disable-pip-version-check --find-links "$dist" "$library[testing]" "$pytest"
as_user venv/bin/python -m pytest -q

echo "emulator: the archive, with PHPUnit"
tar -xzf "$dist/$archive.tar.gz" -C "$work/user"
tar -xzf "$dist/b24-messageservice-$version-$(uname -m)-linux.tar.gz" -C "$work/user"
example php >"$work/user/ReceiptsTest.php"
cat >"$work/user/bootstrap.php" <<PHP
<?php
require __DIR__ . '/$archive/php/autoload.php';
require __DIR__ . '/b24-messageservice-$version-$(uname -m)-linux/php/autoload.php';
PHP
as_user phpunit --bootstrap bootstrap.php ReceiptsTest.php

echo "emulator: the program on its own"
as_user "$archive/bin/b24-portal" </dev/null
