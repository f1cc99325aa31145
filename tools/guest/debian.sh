# shellcheck shell=bash
# Packages of the Debian archive, for fetch-kernel.sh and fetch-headers.sh: downloaded and unpacked,
# not installed. Needs no root, and leaves apt's own lists as they are. The script that reads this
# defines fail().

apt=() # options of apt
kinds=(deb) # of use_suites(): deb, deb-src

# From now on packages are those of the machine's own sources and lists.
use_own_suites() { apt=(); }

# Where a suite ("trixie", "bookworm-security") is: the archive that this machine is set up with for
# its own ones, be it a mirror or a list of mirrors, or with "default" Debian's public one.
archive() { # archive machine|default SUITE
  local label=Debian path=debian found=''
  [[ $2 != *-security ]] || label=Debian-Security path=debian-security
  if [ "$1" = machine ]; then
    # Without lists the labels are not known; then the path tells.
    # shellcheck disable=SC2016 # for apt
    found=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
      awk -v label="$label" -v path="/$path/?$" '
        $2 ~ /^cdrom:/ { next }
        $1 == label && !by_label { by_label = $2 }
        $NF ~ path && !by_path { by_path = $NF }
        END { print by_label ? by_label : by_path }')
  fi
  echo "${found:-http://deb.debian.org/$path}"
}

# use_suites DIR SUITE...: from now on packages are those of these suites, the first one preferred,
# whatever the machine itself has. Lists go to the folder DIR, messages to DIR/update.log.
use_suites() {
  local dir=$1 whose suite kind
  shift
  mkdir -p "$dir"/{lists,cache/archives}/partial
  apt=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o Dir::State::status=/dev/null
    -o "APT::Default-Release=$1")
  for whose in machine default; do
    for suite in "$@"; do
      for kind in "${kinds[@]}"; do
        printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
          "$kind" "$(archive $whose "$suite")" "$suite"
      done
    done >"$dir/sources.list"
    if apt-get "${apt[@]}" -q -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any update \
      >>"$dir/update.log" 2>&1; then
      return
    fi
  done
  tail -n 5 "$dir/update.log" >&2
  fail "the package lists of $* could not be fetched, neither from the archives that apt is set up" \
    "with nor from deb.debian.org. Check that apt reaches the Debian archive, and try again."
}

# Packages that $1 depends on whose names match the pattern $2.
depends() {
  apt-cache "${apt[@]}" depends --important "$1" 2>/dev/null |
    awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }'
}

# The packages with what modules are built with for the kernel of the headers' package $1.
with_headers() {
  local others
  others=$(depends "$1" '^linux-(headers-.*-common|kbuild-)')
  [ -n "$others" ] && echo "$1" "$others"
}

# unpack DIR LOG PACKAGE...: downloads the packages and unpacks them into the new folder DIR. False
# if one cannot be had; LOG says why.
unpack() {
  local dir=$1 log=$2 deb
  shift 2
  [ $# -gt 0 ] || return 1
  mkdir -p "$dir/debs"
  # As root apt would drop to a user who cannot write here.
  (cd "$dir/debs" && apt-get "${apt[@]}" -q -o APT::Sandbox::User=root download "$@") >>"$log" 2>&1 ||
    return 1
  for deb in "$dir"/debs/*.deb; do
    dpkg-deb -x "$deb" "$dir" || return 1
  done
  rm -rf "$dir/debs"
}

# Makes the unpacked headers in DIR usable where they are, as DIR/build: the packages expect to be
# installed at /usr/src.
settle_headers() { # settle_headers DIR
  local build common
  build=$(cd "$1" && echo usr/src/linux-headers-*-cloud-amd64)
  common=$(cd "$1" && echo usr/src/linux-headers-*-common)
  # shellcheck disable=SC2016 # for make
  printf 'KBUILD_OUTPUT := $(patsubst %%/,%%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))\ninclude $(KBUILD_OUTPUT)/../%s/Makefile\n' \
    "$(basename "$common")" >"$1/$build/Makefile"
  ln -s "$build" "$1/build"
}
