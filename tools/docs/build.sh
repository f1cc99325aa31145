#!/usr/bin/env bash
# Builds the documentation site into build/docs/site: pages by mkdocs, the API reference by Doxygen.
# A warning of either, a broken link and a link to a part of a page that is not there are failures.
# Debian packages: mkdocs-material doxygen.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rm -rf build/docs/api build/docs/site
mkdir -p build/docs
doxygen tools/docs/Doxyfile
mkdocs build --strict
tools/docs/check_links.py build/docs/site
