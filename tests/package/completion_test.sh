# shellcheck shell=bash disable=SC2016,SC2164,SC2317 # in_root.sh runs it with set -e
# bash, zsh and fish find the installed scripts by themselves, and complete a command, an option, its
# value, and the name of a peer.
apt-get -q -y --no-install-recommends --no-download install bash-completion zsh fish >/dev/null
ivmq format shm:/completion --size 1M >/dev/null
ivmq recv shm:/completion --name robert 2>/tmp/ready &
until grep -q ready /tmp/ready; do sleep 0.1; done

# expect SHELL LINE WORDS...: SHELL offers these words at the end of LINE.
failed=0
expect() {
  local shell=$1 line=$2 offered
  shift 2
  offered=$("in_$shell" "$line" | sort | tr '\n' ' ')
  if [ "$offered" = "$(printf '%s\n' "$@" | sort | tr '\n' ' ')" ]; then
    echo "$shell: $line: $offered"
  else
    echo "$shell: $line: offered '$offered' instead of '$*'"
    failed=1
  fi
}

in_bash() {
  bash --norc -c '
    . /usr/share/bash-completion/bash_completion
    COMP_LINE=$1 COMP_POINT=${#1}
    # As bash itself cuts the line, at blanks and, into words of their own, at : and =.
    mapfile -t COMP_WORDS < <(grep -oE "[:=]+|[^:=[:space:]]+" <<<"$1")
    [[ $1 != *" " ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _completion_loader "${COMP_WORDS[0]}"
    "_${COMP_WORDS[0]}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$1" 2>/dev/null
}

in_fish() { fish -c 'complete -C $argv[1]' "$1" | cut -f 1; }

# zsh completes only what is typed into a terminal. What it would insert or show is printed, too.
cat >/tmp/in.zsh <<'END'
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= PS2= RPS1= ; autoload -U compinit; compinit -u -D; bindkey "^I" complete-word'
zpty -w shell 'compadd() {
  local -a words; builtin compadd -O words "$@"; print -rl -- "<"${^words}">"; builtin compadd "$@"; }'
zpty -w shell 'print RE""ADY'
zpty -r -m shell text '*READY*'
zpty -w -n shell "$1"$'\t\x15'
zpty -w shell 'print DO""NE'
zpty -r -m shell text '*DONE*'
print -r -- "$text"
END
in_zsh() { zsh -f /tmp/in.zsh "$1" | tr -d '\r' | grep -o '<[^<>]*>' | tr -d '<>' | sort -u; }

for shell in bash zsh fish; do
  expect $shell 'ivmq rep' replay
  expect $shell 'ivmq topic e' echo
  expect $shell 'ivmq send --dr' --drop
  expect $shell 'ivmq send shm:/completion rob' robert
  expect $shell 'ivmqd --me' --metrics
  expect $shell 'ivmqd --keep sy' systemd
done
expect fish 'ivmqd --keep=sy' --keep=systemd
expect bash 'ivmqd --keep=sy' systemd
expect bash 'ivmq ls shm:/compl' /completion
expect bash 'ivmqd --config /etc/ivmq/' /etc/ivmq/ivmqd.conf
exit $failed
