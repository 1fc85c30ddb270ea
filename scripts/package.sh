#!/bin/bash
# package.sh - builds the packages of gipam; the same sources give the same bytes.
#
#   package.sh program      build the program for running, installing and packing: static, for any Debian, in target/package/gipam
#   package.sh measured     build it and the benchmark (see scripts/bench.sh); print the path of the benchmark
#   package.sh guarded      build it and the program that counts instructions, from the same crates; print the path
#   package.sh deb          target/package/gipam_VERSION_ARCH.deb
#   package.sh dist         target/package/gipam-VERSION-MACHINE-linux.tar.gz, with an install script
#   package.sh plugin       target/package/plugin, for docker plugin create
#   package.sh reproducible build the program here and in another directory, and compare
#
# GIPAM_MACHINE=aarch64 builds everything for arm64, in target/package/aarch64 (x86_64 does so for x86-64 on other
# machines). GIPAM_BINARY is a program to pack instead of building one, GIPAM_VERSION a different version, GIPAM_OUT a
# different directory. Times in the packages are SOURCE_DATE_EPOCH, or that of the last commit. Needs cargo and a C
# compiler, and dpkg-deb for the .deb. A build for another machine needs Debian's cross compiler and Rust's library
# for it; as root, the script installs them with apt and rustup.
# `make run` and `make build` use the same program, so cargo builds it only once. If the C library has no static archive, the program
# is dynamic: it runs and can be installed here, but cannot be packed.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
umask 022

fail() { echo "package.sh: $*" >&2; exit 1; }

HERE=$(uname -m)
MACHINE=${GIPAM_MACHINE:-$HERE}
TARGET=$MACHINE-unknown-linux-gnu
# Debian's name for the machine, and its number in the header of a program (e_machine).
case $MACHINE in
  x86_64) ARCH=amd64 NUMBER=003e ;;
  aarch64) ARCH=arm64 NUMBER=00b7 ;;
  *) fail "GIPAM_MACHINE is $MACHINE: programs are built for x86_64 and aarch64" ;;
esac
# Packages for another machine have their own directory, so that nobody installs them here by mistake.
OUT=$PWD/target/package
[ "$MACHINE" = "$HERE" ] || OUT=$OUT/$MACHINE
OUT=${GIPAM_OUT:-$OUT}
VERSION=${GIPAM_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)}
# Without a git history, use the date in the changelog.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
    SOURCE_DATE_EPOCH=$(date -d "$(sed -n 's/^ -- .*>  //p;/^ -- /q' packaging/debian/changelog)" +%s)
fi
# Not exported: cargo would rebuild everything for each commit.
stamped() { env "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" LC_ALL=C TZ=UTC "$@"; }

# Says which tool is missing and where to get it, before a build fails.
toolchain() {
  local need have
  need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null || fail "Rust $need or newer is needed, but cargo was not found: install Rust from https://rustup.rs"
  command -v rustc >/dev/null || fail "Rust $need or newer is needed, but rustc was not found: install Rust from https://rustup.rs"
  have=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)" = "$need" ] ||
    fail "Rust $need or newer is needed, but this is $have: install a newer one from https://rustup.rs (the distribution's may stay installed)"
  command -v cc >/dev/null || fail "a C compiler is needed: apt-get install gcc libc6-dev, or your distribution's equivalents"
  scripts/protoc.sh
}

# Whether a program can be linked statically; for this machine that needs the C library's static archive.
static() { [ "$MACHINE" != "$HERE" ] || [ -e "$(cc -print-file-name=libc.a)" ]; }

# Finds the tools that build for another machine; as root, installs them.
cross() {
  local gcc=$MACHINE-linux-gnu-gcc packages
  packages=("gcc-${MACHINE//_/-}-linux-gnu" "libc6-dev-$ARCH-cross")
  if ! command -v "$gcc" >/dev/null || ! [ -e "/usr/$MACHINE-linux-gnu/lib/libc.a" ]; then
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || fail "please install: ${packages[*]}"
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
  fi
  if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$TARGET/lib" ]; then
    command -v rustup >/dev/null || fail "Rust's library for $TARGET is missing: install it in the same way as Rust itself"
    rustup target add "$TARGET" >&2
  fi
  local name=${TARGET//-/_}
  export "CC_$name=$gcc" "AR_$name=$MACHINE-linux-gnu-ar" "CARGO_TARGET_${name^^}_LINKER=$gcc"
}

# Whether the linker can keep one copy of functions with the same code, as Rust's own linker for x86-64 can. That saves 1 %.
folds() {
  local directory code=0
  [ "$MACHINE" = "$HERE" ] || return 1
  directory=$(mktemp -d)
  echo 'fn main() {}' | rustc --target "$TARGET" -C link-arg=-Wl,--icf=all -o "$directory/folded" - 2>/dev/null || code=1
  rm -r "$directory"
  return $code
}

# Replaces every directory name that the program could contain with a fixed one, also in C code.
build() { # DIRECTORY TARGET_DIRECTORY [CARGO'S WORD...]
  local registry=${CARGO_HOME:-$HOME/.cargo} sysroot
  toolchain
  [ "$MACHINE" = "$HERE" ] || cross
  sysroot=$(rustc --print sysroot)
  local map=(--remap-path-prefix="$1=/gipam" --remap-path-prefix="$registry=/cargo" --remap-path-prefix="$sysroot=/rust"
    --remap-path-prefix="$2=/target")
  local c="-ffile-prefix-map=$1=/gipam -ffile-prefix-map=$registry=/cargo -ffile-prefix-map=$2=/target"
  # no unwinding: a panic ends the program, and a stripped program has nothing for debuggers
  c+=" -fno-asynchronous-unwind-tables -fno-unwind-tables"
  local flags=(-C force-unwind-tables=no -C "link-arg=-Wl,-z,pack-relative-relocs" "${map[@]}") # relocations packed
  # static, so that one program runs on every Debian, whatever its C library
  if folds; then flags+=(-C link-arg=-Wl,--icf=all); fi
  if static; then flags+=(-C target-feature=+crt-static); else flags+=(-C target-feature=-crt-static); fi
  (cd "$1" && SOURCE_DATE_EPOCH=0 CFLAGS="$c" CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}") \
    cargo build --release --locked --target "$TARGET" --target-dir "$2" --bin gipam "${@:3}")
}

# Builds a program for any Debian, for packages.
packable() {
  [ -n "${GIPAM_BINARY:-}" ] || static || fail "packages need a static program, but libc.a is missing: install your distribution's package (Fedora: glibc-static)"
  program
}

program() {
  mkdir -p "$OUT"
  if [ -n "${GIPAM_BINARY:-}" ]; then
    install -m 755 "$GIPAM_BINARY" "$OUT/gipam"
  else
    build "$PWD" "${CARGO_TARGET_DIR:-$PWD/target}"
    install -m 755 "${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/gipam" "$OUT/gipam"
  fi
  [ "$(od -An -t x2 -j 18 -N 2 --endian=little "$OUT/gipam")" = " $NUMBER" ] || fail "$OUT/gipam is not a program for $MACHINE"
}

measured() {
  build "$PWD" "${CARGO_TARGET_DIR:-$PWD/target}" --example bench
  echo "${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/examples/bench"
}

guarded() {
  build "$PWD" "${CARGO_TARGET_DIR:-$PWD/target}" --bin guard
  echo "${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/guard"
}

# Generates manual pages, completions and the SBOM with examples/papers.
papers() {
  rm -rf "$OUT/papers"; mkdir -p "$OUT/papers"
  env -u SOURCE_DATE_EPOCH cargo build --quiet --locked --example papers
  stamped "${CARGO_TARGET_DIR:-$PWD/target}/debug/examples/papers" "$OUT/papers" "$TARGET"
}

# Prints the sample configuration without its pools, for /etc.
configuration() { awk '/^\[\[pool\]\]/ { off = 1 } off && NF && !/^#/ { $0 = "#" $0 } 1' packaging/gipam.toml; }

# All files get the same time, so that an archive depends only on their content.
settle() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

deb() {
  command -v dpkg-deb >/dev/null || fail "dpkg-deb is needed: apt-get install dpkg"
  packable; papers
  local tree=$OUT/deb doc
  doc=$tree/usr/share/doc/gipam
  rm -rf "$tree"
  install -D -m 755 "$OUT/gipam" "$tree/usr/bin/gipam"
  install -d "$tree/etc/gipam" "$tree/usr/share/man/man1" "$doc/examples"/{docker.service.d,gipam.service.d,hooks} "$tree/usr/lib/systemd/system"
  configuration >"$tree/etc/gipam/gipam.toml"
  install -m 640 packaging/gipam.env "$tree/etc/gipam/gipam.env"
  # A hook's URL or command may contain a password.
  chmod 640 "$tree/etc/gipam/gipam.toml"
  install -m 644 packaging/systemd/gipam.socket "$tree/usr/lib/systemd/system/gipam.socket"
  sed 's|/usr/local/bin/gipam|/usr/bin/gipam|' packaging/systemd/gipam.service >"$tree/usr/lib/systemd/system/gipam.service"
  install -m 644 "$OUT"/papers/man1/* "$tree/usr/share/man/man1/"
  gzip -9n "$tree"/usr/share/man/man1/*
  install -D -m 644 "$OUT/papers/completions/gipam.bash" "$tree/usr/share/bash-completion/completions/gipam"
  install -D -m 644 "$OUT/papers/completions/_gipam" "$tree/usr/share/zsh/vendor-completions/_gipam"
  install -D -m 644 "$OUT/papers/completions/gipam.fish" "$tree/usr/share/fish/vendor_completions.d/gipam.fish"
  install -m 644 README.md docs/*.md packaging/debian/copyright "$OUT/papers/gipam.cdx.json" "$doc/"
  install -m 644 packaging/gipam.toml examples/compose.yaml "$doc/examples/"
  install -m 644 packaging/systemd/docker.service.d/gipam.conf "$doc/examples/docker.service.d/"
  install -m 644 packaging/systemd/gipam.service.d/{kernel-routes,lan-probes}.conf "$doc/examples/gipam.service.d/"
  install -m 755 examples/hooks/*.sh "$doc/examples/hooks/"
  gzip -9n <"$OUT/papers/THIRD-PARTY.txt" >"$doc/THIRD-PARTY.txt.gz"
  gzip -9n <packaging/debian/changelog >"$doc/changelog.gz"
  install -d "$tree/DEBIAN"
  install -m 755 packaging/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
  printf '%s\n' /etc/gipam/gipam.env /etc/gipam/gipam.toml >"$tree/DEBIAN/conffiles"
  (cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
  cat >"$tree/DEBIAN/control" <<CONTROL
Package: gipam
Version: $VERSION
Architecture: $ARCH
Maintainer: The gipam authors <root@localhost>
Section: net
Priority: optional
Installed-Size: $(du -k --apparent-size -s --exclude=DEBIAN "$tree" | cut -f1)
Enhances: docker.io, docker-ce
Description: Docker IPAM driver with durable, explained addresses
 Gives every Docker network its own routed IPv4 and IPv6 subnet from named
 pools, and every container an address in each. Stores every address on disk
 before Docker receives it, and shows which container has which address.
CONTROL
  settle "$tree"
  stamped dpkg-deb --root-owner-group --uniform-compression -Zxz -b "$tree" "$OUT/gipam_${VERSION}_$ARCH.deb" >/dev/null
  echo "$OUT/gipam_${VERSION}_$ARCH.deb"
}

dist() {
  packable; papers
  local name=gipam-$VERSION-$MACHINE-linux
  local tree=$OUT/dist/$name
  rm -rf "$OUT/dist"; mkdir -p "$tree/docs"
  install -m 755 "$OUT/gipam" packaging/install.sh "$tree/"
  cp -r packaging/systemd packaging/openrc packaging/runit "$OUT/papers/man1" "$OUT/papers/completions" "$tree/"
  cp -r examples/hooks "$tree/"
  configuration >"$tree/gipam.toml"
  install -m 644 packaging/gipam.toml "$tree/example.toml"
  install -m 644 packaging/gipam.env LICENSE README.md "$OUT"/papers/{gipam.cdx.json,THIRD-PARTY.txt} "$tree/"
  install -m 644 docs/*.md "$tree/docs/"
  settle "$tree"
  stamped tar -C "$OUT/dist" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -c "$name" |
    gzip -9n >"$OUT/$name.tar.gz"
  echo "$OUT/$name.tar.gz"
}

plugin() {
  packable
  rm -rf "$OUT/plugin"
  install -D -m 755 "$OUT/gipam" "$OUT/plugin/rootfs/gipam"
  # directories where Docker mounts, and where gipam looks for Docker
  mkdir -p "$OUT"/plugin/rootfs/{etc/docker/plugins,proc,run/docker/plugins,sys,tmp,var/lib/gipam}
  install -m 644 packaging/plugin/config.json "$OUT/plugin/config.json"
  echo "$OUT/plugin"
}

# Builds the program again from scratch, from a copy of the sources in a directory with a name of another length.
reproducible() {
  local place copy
  place=$(mktemp -d)
  # shellcheck disable=SC2064 # the directory is known now
  trap "rm -rf '$place'" EXIT
  copy=$place/another/and-deeper
  mkdir -p "$copy"
  git ls-files -z | xargs -0 cp --parents -t "$copy"
  program
  build "$copy" "$place/built"
  sha256sum "$OUT/gipam" "$place/built/$TARGET/release/gipam" | cut -d' ' -f1
  cmp "$OUT/gipam" "$place/built/$TARGET/release/gipam" || fail "the two programs differ"
  echo "both builds gave the same bytes"
}

command=${1:-help}
case $command in
  program | measured | guarded | deb | dist | plugin | reproducible) "$command" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; [ "$command" = help ] || exit 2 ;;
esac
