/** Copies of a saved state, each with one thing changed: what a test of its coding needs. */

export interface ChangedCopy {
  /** Where the copy differs: "queues[0].size". */
  readonly path: string;
  readonly value: unknown;
}

function changedBytes(bytes: Uint8Array, path: string): ChangedCopy[] {
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  return [
    { path: `${path} longer`, value: longer },
    ...Array.from(bytes, (byte, index) => ({
      path: `${path}[${index}]`,
      value: bytes.map((other, at) => (at === index ? byte ^ 1 : other)),
    })),
  ];
}

function changedList(values: readonly unknown[], path: string): ChangedCopy[] {
  const last = values.at(-1);
  return [
    ...(last === undefined ? [] : [{ path: `${path} longer`, value: [...values, last] }]),
    ...values.flatMap((value, index) =>
      changedCopies(value, `${path}[${index}]`).map((copy) => ({
        path: copy.path,
        value: values.with(index, copy.value),
      })),
    ),
  ];
}

function changedBlocks(blocks: ReadonlyMap<number, Uint8Array>, path: string): ChangedCopy[] {
  return [...blocks].flatMap(([key, block]) => {
    const moved = new Map(blocks);
    moved.delete(key);
    moved.set(key + 1000, block);
    const edited = new Map(blocks);
    edited.set(
      key,
      block.map((byte, index) => (index === block.length - 1 ? byte ^ 1 : byte)),
    );
    return [
      { path: `${path} key ${key}`, value: moved },
      { path: `${path} content ${key}`, value: edited },
    ];
  });
}

/** All copies that differ in one leaf. Lists and maps must not be empty to be covered. */
export function changedCopies(value: unknown, path = "state"): ChangedCopy[] {
  if (typeof value === "number") {
    return [{ path, value: value === 0 ? 1 : value - 1 }];
  }
  if (typeof value === "bigint") {
    return [{ path, value: value ^ 1n }];
  }
  if (typeof value === "boolean") {
    return [{ path, value: !value }];
  }
  if (typeof value === "string") {
    return [{ path, value: `${value}x` }];
  }
  if (value instanceof Uint8Array) {
    return changedBytes(value, path);
  }
  if (value instanceof Map) {
    return changedBlocks(value as ReadonlyMap<number, Uint8Array>, path);
  }
  if (Array.isArray(value)) {
    return changedList(value, path);
  }
  return Object.entries(value as object).flatMap(([name, field]) =>
    changedCopies(field, `${path}.${name}`).map((copy) => ({
      path: copy.path,
      value: { ...(value as object), [name]: copy.value },
    })),
  );
}
