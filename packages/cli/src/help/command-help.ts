/** What stands below a command's options in its --help: forms that it takes, with examples, and its exit statuses. */
import type { Topic } from "./topics.js";

interface CommandHelp {
  /** Words that it takes, and where they are explained. */
  readonly topics: readonly Exclude<Topic, "statuses" | "errors" | "handlers">[];
  readonly examples: readonly string[];
  /** What 0 and 1 mean here. */
  readonly statuses: string;
}

const COMMAND_HELP: Readonly<Record<string, CommandHelp>> = {
  record: {
    topics: ["positions", "expressions", "machine-file", "policies"],
    examples: [
      "hvjournal record -c vm.yaml --smp 4",
      "hvjournal record Image --headless --until 'console:/login:/' --fail-on 'console:/Kernel panic/'",
      "hvjournal record Image --headless --until '$pc == 0x40080000'",
    ],
    statuses: "0 the guest ended well, or --until; 1 it ended badly, or --fail-on; 124 --timeout, --host-timeout",
  },
  replay: {
    topics: ["positions", "expressions"],
    examples: [
      "hvjournal replay boot.hvj --until exit:4821+12",
      "hvjournal replay boot.hvj --until 'exit.reason == HVC64 && $x0 == 0x84000008'",
    ],
    statuses: "0 equal, and there; 1 diverged, or not reached",
  },
  verify: {
    topics: ["expressions"],
    examples: [
      "git bisect run hvjournal verify ~/good.hvj",
      "hvjournal verify good.hvj --smccc-filter 0xc6000000+0x100=deny",
      "hvjournal verify good.hvj --kernel Image --expect 'console =~ /login:/'",
    ],
    statuses:
      "0 equal, or EXPR holds; 1 not, or a handler fails; 124 --timeout, --host-timeout; 125 not with this build",
  },
  bisect: {
    topics: ["expressions", "positions"],
    examples: [
      "hvjournal bisect oops.hvj --when '*(u64 *)0xffff800009f3a018 != 0x51a7'",
      "hvjournal bisect oops.hvj --good exit:370 --run sh -c './check.sh $HVJ_RECORDING $HVJ_POSITION'",
      "hvjournal bisect good.hvj --with new.yaml --expect 'console =~ /Total of 2 processors/'",
      "hvjournal bisect good.hvj bad.hvj",
    ],
    statuses: "0 found; 1 not in the recording, or nothing differs; 128 an end is not as it should be",
  },
  diff: {
    topics: ["positions"],
    examples: ["hvjournal diff good.hvj bad.hvj", "hvjournal diff good.hvj@exit:412 bad.hvj@exit:412 --state"],
    statuses: "0 equal, an unfinished recording as far as it goes; 1 different",
  },
  migrate: {
    topics: [],
    examples: ["hvjournal migrate src dst", "hvjournal migrate src.hvj ssh:host"],
    statuses: "0 moved; 1 refused, nothing touched; 128 failed, and it says who owns the VM",
  },
  ctl: {
    topics: ["positions", "policies"],
    examples: ["hvjournal ctl vm pause --at 'console:/login:/'", "hvjournal ctl vm pause --at time:1.65s"],
    statuses: "0 done; 1 the VM refused it",
  },
  log: {
    topics: ["positions", "expressions"],
    examples: ["hvjournal log boot.hvj exit:4800..exit:4821", "hvjournal log boot.hvj --where 'exit.nr == 0xc6000001'"],
    statuses: "0 done; 1 no such moment",
  },
  show: {
    topics: ["positions"],
    examples: ["hvjournal show boot.hvj exit:4821 --stack", "hvjournal show boot.hvj 'console:/login:/#-1'"],
    statuses: "0 shown; 1 no such moment",
  },
  stat: {
    topics: ["positions"],
    examples: ["hvjournal stat boot.hvj", "hvjournal stat boot.hvj exit:4000..exit:5000 --event hypercall"],
    statuses: "0 done; 1 no such moment",
  },
  attest: {
    topics: ["positions"],
    examples: [
      "hvjournal attest vm.hvj --at exit:4821",
      "hvjournal attest vm.hvj --since 'console:/login:/' --pages text,0x7ffe1000",
    ],
    statuses: "0 every measured page holds what it held; 1 some hold something else, or no such moment",
  },
  contract: {
    topics: ["positions"],
    examples: ["hvjournal contract boot.hvj --at exit:4821", "hvjournal contract good.hvj bad.hvj@exit:4821"],
    statuses:
      "0 printed, or of two: equal, or different only in what no guest can tell; 1 different, or no such moment",
  },
  fsck: {
    topics: [],
    examples: [],
    statuses: "0 whole, an unfinished recording as far as it goes; 1 damaged, or its -wal is missing",
  },
};

const WORDS = {
  positions: "POSITION",
  expressions: "EXPR",
  "machine-file": "machine file",
  policies: "policies",
} as const;

/** The lines of a command's epilogue. */
export function commandEpilogue(name: string): string {
  const { topics = [], examples = [], statuses = "0 done; 1 the answer is no" } = COMMAND_HELP[name] ?? {};
  const shown = examples.map((example) => `  ${example}`);
  const explained = topics.map((topic) => `${WORDS[topic]}: see hvjournal help ${topic}`);
  const status = `Exit status (hvjournal help statuses): ${statuses}; 128 error; 129 usage`;
  return [...(shown.length > 0 ? ["Examples:", ...shown, ""] : []), ...explained, status].join("\n");
}
