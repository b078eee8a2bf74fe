# Debian's packages, unpacked under target/ and not installed. The scripts beside this file source it.

platforms=$PWD/target/platforms

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# Ends the script where Debian's packages cannot be reached.
skip() {
    printf '\n== skipped %s: Debian'"'"'s packages cannot be reached (%s)\n' "${0##*/}" "$*"
    exit 0
}

# Prints the newest version of a package that begins with a prefix.
version_of() {
    apt-cache madison "$1" | awk -v prefix="$2" 'index($3, prefix) == 1 { print $3; exit }'
}

# Prints the packages, as name or name=version, with what they need and this machine does not have.
with_dependencies() {
    printf '%s\n' "$@"
    apt-get install --simulate --no-install-recommends "$@" 2>/dev/null | awk '/^Inst/ { print $2 }' |
        grep -vxF -f <(printf '%s\n' "${@%%=*}")
}

# Unpacks packages into the folder of that name below target/platforms.
unpack() {
    local root=$platforms/$1
    shift
    if [[ -e $root/unpacked && $(<"$root/unpacked") == "$*" ]]; then
        return
    fi
    rm -rf "$root"
    mkdir -p "$root/debs"
    (cd "$root/debs" && apt-get -qq -o APT::Sandbox::User=root download "$@" >/dev/null) || return
    for package in "$root"/debs/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -r "$root/debs"
    printf '%s' "$*" >"$root/unpacked"
}

# Unpacks packages of Debian for i386, like `unpack`, with package lists of their own.
unpack_i386() {
    local lists=$platforms/i386-lists
    mkdir -p "$lists"/{lists/partial,cache/archives/partial}
    touch "$lists/status"
    cat >"$lists/apt.conf" <<CONF
Dir::State "$lists";
Dir::State::status "$lists/status";
Dir::Cache "$lists/cache";
APT::Architecture "i386";
APT::Architectures { "i386"; };
CONF
    APT_CONFIG=$lists/apt.conf apt-get update -qq || true
    APT_CONFIG=$lists/apt.conf unpack "$@"
}

# Goes to a copy of the package, in the folder of that name below target/platforms. It has no lock file.
enter_copy() {
    local copy=$platforms/$1
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z '*.toml' README.md src examples benches tests ':!tests/fuzz/corpus' ':!tests/fuzz/seeds' |
        xargs -0 cp --parents -t "$copy"
    cd "$copy"
}

# Uses the Rust compiler in the folder of that name below target/platforms.
use_rust() {
    local usr=$platforms/$1/usr
    export PATH=$usr/bin:$PATH
    export LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu:${usr%/usr}/lib/x86_64-linux-gnu
    export RUSTC=$usr/bin/rustc CARGO=$usr/bin/cargo
    # Nobody debugs what is built here.
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_TEST_DEBUG=false
    rustc --version
}

# Unpacks and uses a recent Rust compiler with the sources of its library, and a linker and C compiler for
# Windows. Its target folder is shared, so that build scripts and macros are built once.
use_recent_rust() {
    local version
    apt-get update -qq || true
    version=$(version_of rustc-web '')
    mapfile -t packages < <(with_dependencies "rustc-web=$version" "cargo-web=$version" "rust-web-src=$version" \
        gcc-mingw-w64-x86-64-win32)
    unpack rust "${packages[@]}" || skip rustc-web "$version"
    use_rust rust
    export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$platforms/build
}
