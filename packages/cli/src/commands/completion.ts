/** `hvjournal completion`: shell completion from the command table itself. */
import { UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { type Command, stringOption } from "./command.js";
import { COMMAND_NAMES } from "./names.js";

export const completion: Command = {
  usage: "completion <shell>",
  summary: "print completion for bash or zsh",
  options: (yargs) => yargs.positional("shell", { type: "string", describe: "bash or zsh" }),
  run(args, context) {
    const shell = stringOption(args, "shell");
    const names = COMMAND_NAMES.join(" ");
    if (shell === "bash") {
      context.output.line(`_hvjournal() {
  local word="\${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "${names}" -- "$word"))
  elif [ "\${word:0:1}" = - ]; then COMPREPLY=($(compgen -W "$(hvjournal "\${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _hvjournal hvjournal`);
    } else if (shell === "zsh") {
      context.output.line(`#compdef hvjournal
_hvjournal() {
  if (( CURRENT == 2 )); then compadd ${names}
  elif [[ $PREFIX == -* ]]; then compadd -- $(hvjournal $words[2] --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)
  else _files; fi
}
compdef _hvjournal hvjournal`);
    } else throw new UsageError(`completion ${shell ?? ""}: bash or zsh`);
    return Promise.resolve(ExitStatus.done);
  },
};
