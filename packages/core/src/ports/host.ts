/** A simulated host, by its row in the architecture's table. A version's row never changes. */
export interface HostReference {
  readonly name: string;
  readonly version: number;
}

export function hostText({ name, version }: HostReference): string {
  return `${name} version ${version}`;
}
