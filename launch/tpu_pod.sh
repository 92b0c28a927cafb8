#!/usr/bin/env bash
# Runs the launcher on all workers of a Cloud TPU VM or pod slice; `launch/tpu_pod.sh --help` tells how.
set -euo pipefail

usage() {
  cat <<'END'
Usage: launch/tpu_pod.sh [OPTIONS] COMMAND [-- LAUNCHER FLAGS]

  launch/tpu_pod.sh all --name=pod --zone=us-east5-b --type=v6e-16 --version=v2-alpha-tpuv6e \
      --workdir=gs://my-bucket/runs/m3d -- --config=m3d:cifar10,ipc=10

Commands
  create     makes the TPU
  copy       sends this checkout to every worker: the last commit and your changes to files that git tracks
  install    makes a virtual environment with jaxdistill and JAX for TPU on every worker
  run        starts the launcher on every worker, shows its output, and ends with its exit status; the run lives on when
             the connection breaks
  follow     shows the output of the run again, and ends with its exit status
  stop       asks the run to save and end (exit status 75); the same `run` continues it
  logs       fetches the output of every worker, as DIR/0.log, DIR/1.log ... for --to=DIR
  status     prints the state of the TPU
  collect    fetches the work dir, into the folder or gs:// path --to=DIR
  delete     deletes the TPU and what is on it
  all        create, copy, install, run, collect, delete; a TPU whose work dir could not be fetched is kept

Options, as --option=VALUE or --option VALUE; the environment variable in brackets serves where the option is missing
  --name     name of the TPU [TPU_NAME]
  --zone     its zone [TPU_ZONE]
  --type     accelerator type, for create [TPU_TYPE]
  --version  runtime version, for create [TPU_VERSION]
  --project  Google Cloud project [TPU_PROJECT]; left out: the one that gcloud is set to
  --spot     a spot TPU, cheaper and taken away at any time
  --workdir  work dir of the run [TPU_WORKDIR], runs/NAME if left out: a path on the workers, or gs://BUCKET/PATH, which
             outlives the TPU: a run there goes on from it on another one
  --to       where collect and logs leave what they fetch; runs if left out
  --dry_run  prints what would be called, and calls nothing
  --help     shows this

Exit status: that of what failed, 2 for a mistake in the options; of a run 0, 2 or 75 as the launcher's own.
END
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Options.

name=${TPU_NAME:-} zone=${TPU_ZONE:-} type=${TPU_TYPE:-} version=${TPU_VERSION:-} project=${TPU_PROJECT:-}
workdir=${TPU_WORKDIR:-} to=runs spot=false dry_run=false
command='' flags=() stage='' left=false

set_option() {
  [ -n "$2" ] || fail "--$1 needs a value: --$1=VALUE."
  printf -v "$1" '%s' "$2"
}

parse() {
  local option
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift; flags=("$@"); return ;;
      -h | --help) usage; exit ;;
      --spot) spot=true ;;
      --dry_run | --dry-run) dry_run=true ;;
      --name=* | --zone=* | --type=* | --version=* | --project=* | --workdir=* | --to=*)
        option=${1%%=*}
        set_option "${option#--}" "${1#*=}" ;;
      --name | --zone | --type | --version | --project | --workdir | --to)
        set_option "${1#--}" "${2:-}"
        shift ;;
      -*) fail "There is no option '$1'; flags of the launcher stand behind --, and --help shows the options." ;;
      create | copy | install | run | follow | stop | logs | status | collect | delete | all)
        [ -z "$command" ] || fail "Give one command, not both '$command' and '$1'."
        command=$1 ;;
      *) fail "There is no command '$1'; --help shows them." ;;
    esac
    shift
  done
}

check() {
  local flag
  [ -n "$command" ] || fail 'Give a command, such as run; --help shows them.'
  [ -n "$name" ] || fail 'Name the TPU with --name=NAME or TPU_NAME.'
  [ -n "$zone" ] || fail 'Name the zone with --zone=ZONE or TPU_ZONE, for example us-east5-b.'
  case $command in
    create | all)
      [ -n "$type" ] || fail 'Name the accelerator with --type=TYPE or TPU_TYPE, for example v6e-16.'
      [ -n "$version" ] || fail 'Name the runtime with --version=VERSION or TPU_VERSION, for example v2-alpha-tpuv6e.' ;;
  esac
  case $command in
    run | all) [ ${#flags[@]} -gt 0 ] || fail "$command needs the launcher's flags behind --, for example -- --config=m3d:digits." ;;
    *) [ ${#flags[@]} -eq 0 ] || fail "$command takes no flags of the launcher, and got ${flags[*]}." ;;
  esac
  for flag in ${flags[@]+"${flags[@]}"}; do
    case $flag in
      --workdir | --workdir=*) fail 'Give --workdir before the --, since collect needs it too.' ;;
    esac
  done
}

# Calls. Everything that leaves this script goes through `call`.

call() {
  if "$dry_run"; then
    local words
    printf -v words ' %q' "$@"
    printf '%s\n' "${words# }"
  else
    "$@"
  fi
}

# tpu VERB ARGUMENTS...: gcloud's commands for TPU VMs, with zone and project.
tpu() {
  call gcloud compute tpus tpu-vm "$@" "--zone=$zone" ${project:+"--project=$project"}
}

on_bucket() {
  [[ $1 == gs://* ]]
}

# on WORKER TEXT [OPTIONS...]: runs a text of bash on one worker or on all.
on() {
  tpu ssh "$name" "--worker=$1" "--command=$2" "${@:3}"
}

# quoted WORDS...: the words as a shell on the worker must read them.
quoted() {
  local words
  printf -v words ' %q' "$@"
  printf '%s' "${words# }"
}

# What the workers run. The run gets a session of its own, so that it outlives the connection; pod/ keeps the process of the
# shell around it, its output and its exit status.

start_text() {
  cat <<END
cd jaxdistill && mkdir -p pod || exit
if [ -f pod/pid ] && kill -0 "\$(cat pod/pid)" 2>/dev/null; then
  echo "A run is under way on \$(hostname): follow it or stop it first." >&2
  exit 2
fi
rm -f pod/status
setsid bash -c '. .venv/bin/activate && python -m launch.run "\$@"; echo \$? > pod/status' \\
  run $(quoted "--workdir=$workdir" "${flags[@]}") > pod/log 2>&1 < /dev/null &
echo \$! > pod/pid
END
}

follow_text() {
  cat <<'END'
cd jaxdistill && [ -f pod/pid ] || { echo "No run was started on $(hostname)." >&2; exit 2; }
tail -n +1 -f "--pid=$(cat pod/pid)" pod/log
exit "$(cat pod/status 2>/dev/null || echo 137)"
END
}

stop_text() {
  # The launcher alone, not the shell that will write its status down.
  cat <<'END'
pkill -TERM -P "$(cat jaxdistill/pod/pid)" || { echo "No run is under way on $(hostname)." >&2; exit 2; }
END
}

install_text() {
  # TPU images come with Python 3.10 or without venv, so uv brings what is missing.
  cat <<'END'
set -e
cd jaxdistill
python3 -m pip install --quiet --user uv || python3 -m pip install --quiet --user --break-system-packages uv
[ -d .venv ] || python3 -m uv venv --quiet --python 3.12 .venv
python3 -m uv pip install --quiet --python .venv/bin/python -e '.[tpu,stream,gcs]'
END
}

unpack_text() {
  # A copy of before loses the files that are gone here; the environment and the runs stay.
  cat <<'END'
mkdir -p jaxdistill && cd jaxdistill || exit
[ ! -d .git ] || git ls-files -z | xargs -0 rm -f --
tar -xzf ../jaxdistill.tar.gz && rm ../jaxdistill.tar.gz
END
}

# Commands.

create() {
  local options=("--accelerator-type=$type" "--version=$version")
  ! "$spot" || options+=(--spot)
  tpu create "$name" "${options[@]}"
}

copy() {
  local root
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  git -C "$root" rev-parse --verify --quiet HEAD >/dev/null || fail "$root is no git checkout: copy sends what git tracks."
  "$dry_run" || stage=$(mktemp -d)
  local folder=${stage:-${TMPDIR:-/tmp}/stage}
  # A clone of one commit, so that a run can say which one made its result.
  call git clone --quiet --depth=1 "file://$root" "$folder/source"
  if ! git -C "$root" diff --quiet HEAD; then
    call git -C "$root" diff --binary "--output=$folder/changes" HEAD
    call git -C "$folder/source" apply --whitespace=nowarn "$folder/changes"
  fi
  call tar -czf "$folder/jaxdistill.tar.gz" -C "$folder/source" .
  tpu scp "$folder/jaxdistill.tar.gz" "$name:jaxdistill.tar.gz" --worker=all
  on all "$(unpack_text)"
}

run() {
  on all "$(start_text)"
  follow
}

follow() {
  on all "$(follow_text)"
}

logs() {
  call mkdir -p "$to"
  on all 'cat jaxdistill/pod/log' "--output-directory=$to"
}

collect() {
  local target
  target=${to%/}/$(basename "$workdir")
  if on_bucket "$workdir"; then
    on_bucket "$to" || call mkdir -p "$target"
    call gcloud storage rsync --recursive "$workdir" "$target" ${project:+"--project=$project"}
  elif on_bucket "$to"; then
    on 0 "cd jaxdistill && gcloud storage rsync --recursive $(quoted "$workdir" "$target")"
  else
    call mkdir -p "$to"
    # A path that does not begin with / lies in the checkout on the worker.
    [[ $workdir == /* ]] || workdir=jaxdistill/$workdir
    tpu scp --recurse "$name:$workdir" "$to" --worker=0
  fi
}

status() {
  tpu describe "$name" '--format=value(state,health)'
}

stop() {
  on all "$(stop_text)"
}

install() {
  on all "$(install_text)"
}

delete() {
  tpu delete "$name" --quiet
}

all() {
  local ended
  create
  left=true
  copy
  install
  set +e
  (set -e; run)
  ended=$?
  set -e
  [ "$ended" -eq 0 ] || echo "The run ended with status $ended; its work dir is fetched all the same." >&2
  collect
  delete
  left=false
  return "$ended"
}

finish() {
  local ended=$?
  [ -z "$stage" ] || rm -rf "$stage"
  if "$left" && [ "$ended" -ne 0 ]; then
    printf 'The TPU %s is still there and is charged for; launch/tpu_pod.sh delete --name=%s --zone=%s ends that.\n' \
      "$name" "$name" "$zone" >&2
  fi
}

parse "$@"
check
workdir=${workdir:-runs/$name}
trap finish EXIT
"$command"
