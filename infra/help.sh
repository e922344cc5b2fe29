# What scripts/paperspace [COMMAND] --help prints. Sourced by scripts/paperspace.
# shellcheck shell=bash

help_all() {
  cat << 'END'
Usage: scripts/paperspace COMMAND [ARGUMENTS]     scripts/paperspace COMMAND --help tells more

The machine
  create             makes one that fits this project; shows its price first
  up                 starts it, waits until SSH answers, prints what it costs and what will stop it
  down               stops it and waits until it is off; refuses while it has work that is nowhere else
  status             state, costs, address, idle guard, unsaved work
  ip                 static addresses: claim, assign, release, status
  destroy            deletes the machine, its disk and its address; asks for its name
  auto-shutdown      changes after how many hours it is switched off, whatever runs
  doctor             checks keys, tools, account, machine and GPU, each with the mend

The work on it
  bootstrap          sets the machine up, once after create; again does no harm
  ssh                a shell, or one command
  code               opens VS Code on it
  run                trains there, in a tmux that survives a lost connection
  tensorboard        opens a page with the runs that train there
  pull               brings results here
  sync               git both ways, never losing work

Configuration: infra/paperspace.conf (copy infra/paperspace.conf.example), or environment variables of the same names.
Exit code: 0 only when what was promised was seen, 1 for a failure, 2 for misuse.
END
}

# The words of one command; fails where there is no such command
help_for() {
  case "$1" in
    create) help_create ;;
    up) help_up ;;
    down) help_down ;;
    status) help_status ;;
    ip) help_ip ;;
    auto-shutdown) help_auto_shutdown ;;
    destroy) help_destroy ;;
    doctor) echo 'Usage: scripts/paperspace doctor
Checks keys, tools, account, machine settings, driver and torch; says how to mend what is wrong.' ;;
    bootstrap) help_bootstrap ;;
    ssh) echo 'Usage: scripts/paperspace ssh [COMMAND...]
A shell on the machine, or COMMAND run there.' ;;
    code) help_code ;;
    run) help_run ;;
    tensorboard) help_tensorboard ;;
    pull) echo 'Usage: scripts/paperspace pull
Brings the results of the trainings on the machine here.' ;;
    sync) echo 'Usage: scripts/paperspace sync
Brings commits both ways; refuses where work could be lost, and says what.' ;;
    *) return 1 ;;
  esac
}

help_create() {
  cat << 'END'
Usage: scripts/paperspace create [OPTIONS]
Makes a machine: Ubuntu LTS, static address, auto-shutdown as a cap, no restore point. Shows what it costs and asks. It
ends off: scripts/paperspace up starts it.
  --name NAME             default: PAPERSPACE_MACHINE, else sheeprl-dnp
  --type TYPE             default: PAPERSPACE_MACHINE_TYPE, else A4000
  --region REGION         default: PAPERSPACE_REGION, else ny2
  --disk GB               default: PAPERSPACE_DISK_GB, else 100
  --auto-shutdown HOURS   default: PAPERSPACE_AUTO_SHUTDOWN_HOURS, else 8
  --template ID|NAME      default: the newest Ubuntu LTS from 22.04 that fits the type and has the GPU's driver
  --address static|dynamic  default: static
  --key FILE|none         the SSH key that the machine lets in, brought along by a startup script; default: PAPERSPACE_SSH_KEY,
                          else your usual one. none: only those that the account has
  --yes                   does not ask
END
}

help_up() {
  cat << 'END'
Usage: scripts/paperspace up [--retry MINUTES]
Starts the machine from whatever state it is in, waits until it is ready and SSH answers, keeps the SSH entry current,
and prints the address, $/h and what will stop it. Run again, it changes nothing.
  --retry MINUTES   where no machine of the type is free, asks again so long; also where a start goes back to off without a word
Waits PAPERSPACE_UP_TIMEOUT seconds (600) for ready, and as long for SSH.
END
}

help_down() {
  cat << 'END'
Usage: scripts/paperspace down [--force]
Stops the machine, and succeeds only after it was seen to be off: then nothing but its storage is billed. Refuses while
the machine has uncommitted or unpushed work, and says what. Where SSH is dead, it stops it all the same.
  --force   does not look for unsaved work; the machine's disk keeps it
Waits PAPERSPACE_DOWN_TIMEOUT seconds (480).
END
}

help_status() {
  cat << 'END'
Usage: scripts/paperspace status [--month] [--json]
State, uptime, costs now and while off, address, idle guard, and work that is nowhere else.
  --month   what it has cost since the first of the month, added up from its events at today's price
END
}

help_ip() {
  cat << 'END'
Usage: scripts/paperspace ip status                    which addresses the account pays for, and whose they are
       scripts/paperspace ip claim [--yes]             buys a static address in the machine's region; asks first
       scripts/paperspace ip assign [ADDRESS]          gives a claimed address to the machine; default: the free one
       scripts/paperspace ip release [ADDRESS] [--yes] gives an address back; default: the one that no machine has; asks first
A static address stays the same from start to start, and is billed whether the machine is on, off or deleted.
END
}

help_destroy() {
  cat << 'END'
Usage: scripts/paperspace destroy
Deletes the machine, its disk and its static address, and succeeds only after it has seen them gone: then nothing of it is
billed. Asks for the machine's name. A machine that is on is stopped first, and refused while it has work that is nowhere else.
END
}

help_auto_shutdown() {
  cat << 'END'
Usage: scripts/paperspace auto-shutdown HOURS
Asks Paperspace to switch the machine off so many hours after its start, whatever runs then, and looks whether it took: its
API's document has that, its other pages say that it cannot be changed. Choose more than your longest training takes.
END
}

help_bootstrap() {
  cat << 'END'
Usage: scripts/paperspace bootstrap [--cpu] [--drive //ADDRESS/SHARE --drive-user NAME]
Sets the machine up over SSH: packages, clone, .venv, git, tmux, idle guard. What is there already is left alone. Torch is the
build that the GPU's driver serves, and the command succeeds only after it has multiplied two matrices on the GPU. Unattended
upgrades leave the driver and the kernel alone.
  --cpu                   for a machine without a GPU
  --drive, --drive-user   mounts a shared drive too, for data sets and checkpoints; both as the console shows them
END
}

help_code() {
  cat << 'END'
Usage: scripts/paperspace code [--windows]
Opens VS Code here, connected to the project on the machine.
  --windows   of WSL, where VS Code is Windows' program and reads Windows' SSH configuration: writes the machine's entry there,
              where up then keeps it current
END
}

help_run() {
  cat << 'END'
Usage: scripts/paperspace run [--down] [--debug] [--cpu] EXPERIMENT [OVERRIDE...]
       scripts/paperspace run [--down] [--debug] [--cpu] --resume [OVERRIDE...]
       e.g. scripts/paperspace run dnp_crafter seed=1
       scripts/paperspace run --follow [--down]
Refuses where less than 10 GB of the machine's disk are free, and says what could be deleted.
Warns where auto-shutdown comes before the training's end, as soon as its speed is known.
Pushes local commits, starts the training on the machine inside tmux, and follows its log; Ctrl-C leaves it running.
  --down    stops the machine when the training has ended and its results are here. Without you, too: then the machine waits
            15 minutes for its results to be fetched, and powers itself off; they are on its disk (up, then pull)
  --debug   lets a debugger of VS Code attach
  --resume  goes on from the last checkpoint of the training that ran last, as after an auto-shutdown
  --cpu     trains on the CPU; without it, run refuses where torch cannot use the GPU
  --follow  follows the training that runs, or that ran last
At the end the machine calls the commands of PAPERSPACE_NOTIFY, see infra/paperspace.conf.example.
END
}

help_tensorboard() {
  cat << 'END'
Usage: scripts/paperspace tensorboard [FOLDER] [--port PORT]
Starts TensorBoard on the machine, forwards its port to this computer, and opens the page; Ctrl-C ends it, there too.
  FOLDER        what it shows, below the project there; default: logs/runs
  --port PORT   of this computer; default: the first free one from 6006 on
While it runs, the machine has an SSH session, and its idle guard waits (IDLE_GUARD_SILENT_MINUTES).
END
}
