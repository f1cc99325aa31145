# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# tutorial_test.sh: the tutorial's commands run as they stand, by a user of the bare machine.
apt-get -q -y --no-install-recommends --no-download install cmake g++ make \
  qemu-system-x86 busybox-static cpio >/dev/null
id learner >/dev/null 2>&1 || useradd --create-home learner
cp /tmp/run_page.sh /tmp/tutorial.md /home/learner/
cd /home/learner
setpriv --reuid learner --regid learner --init-groups env HOME=/home/learner \
  ./run_page.sh tutorial.md
