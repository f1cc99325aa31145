# shellcheck shell=bash
# For the tests of this folder, which have from ctest IVMQ_SOURCE (this repository), IVMQ_CONSUME (a
# folder for them), IVMQ_PREFIX (where install.sh installs ivmq) and CXX (the compiler).
: "${IVMQ_SOURCE:?}" "${IVMQ_CONSUME:?}" "${IVMQ_PREFIX:?}" "${CXX:?}"
export PKG_CONFIG_PATH=$IVMQ_PREFIX/lib/pkgconfig LD_LIBRARY_PATH=
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# new_application NAME: goes to a new folder with the sources of the application.
new_application() {
  rm -rf "${IVMQ_CONSUME:?}/$1"
  mkdir -p "$IVMQ_CONSUME/$1"
  cp "$IVMQ_SOURCE"/tests/consume/app/* "$IVMQ_CONSUME/$1"
  cd "$IVMQ_CONSUME/$1" || exit
}

# build [OPTION...]: with CMake, into build/.
build() {
  cmake -G Ninja -S . -B build "-DCMAKE_PREFIX_PATH=$IVMQ_PREFIX" "$@" >configure.log 2>&1 ||
    fail "The application cannot be configured:" "$(tail -n 40 configure.log)"
  cmake --build build --target messages calls >build.log 2>&1 ||
    fail "The application cannot be built:" "$(tail -n 40 build.log)"
}

# expect_output PROGRAM LINE
expect_output() {
  local output
  output=$("$1") || fail "$1 ends with status $?."
  [ "$output" = "$2" ] || fail "$1 prints '$output', not '$2'."
}

# expect_it_works FOLDER: the application's programs there do what they should.
expect_it_works() {
  expect_output "$1/messages" "message: hello"
  expect_output "$1/calls" "reply: hello, world"
}

# expect_links shared|static PROGRAM...: whether they want libivmq.so.0.
expect_links() {
  local kind=$1 program found
  shift
  for program in "$@"; do
    found=static
    ! readelf -d "$program" | grep -q 'NEEDED.*\[libivmq\.so\.0\]' || found=shared
    [ "$found" = "$kind" ] || fail "$program is linked to the $found library, not to the $kind one."
  done
}
