/** `hvjournal completion`: shell completion from the command table itself. */
import { UsageError } from "../cli-error.js";
import { TOPICS } from "../help/topics.js";
import { ExitStatus } from "../exit-status.js";
import { type Command, stringOption } from "./command.js";

/** `commandNames`: of every command, this one included. */
export function completionOf(commandNames: () => readonly string[]): Command {
  return {
    usage: "completion <shell>",
    summary: "print completion for bash or zsh",
    options: (yargs) => yargs.positional("shell", { type: "string", describe: "bash or zsh" }),
    run(args, context) {
      context.output.line(script(stringOption(args, "shell") ?? "", commandNames()));
      return Promise.resolve(ExitStatus.done);
    },
  };
}

function script(shell: string, commands: readonly string[]): string {
  const names = commands.join(" ");
  const topics = [...Object.keys(TOPICS), ...commands].join(" ");
  switch (shell) {
    case "bash":
      return `_hvjournal() {
  local word="\${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "${names}" -- "$word"))
  elif [ "\${COMP_WORDS[1]}" = help ]; then COMPREPLY=($(compgen -W "${topics}" -- "$word"))
  elif [ "\${word:0:1}" = - ]; then COMPREPLY=($(compgen -W "$(hvjournal "\${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _hvjournal hvjournal`;
    case "zsh":
      return `#compdef hvjournal
_hvjournal() {
  if (( CURRENT == 2 )); then compadd ${names}
  elif [[ $words[2] == help ]]; then compadd ${topics}
  elif [[ $PREFIX == -* ]]; then compadd -- $(hvjournal $words[2] --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)
  else _files; fi
}
compdef _hvjournal hvjournal`;
    default:
      throw new UsageError(`completion ${shell}: there is one for bash and one for zsh`);
  }
}
