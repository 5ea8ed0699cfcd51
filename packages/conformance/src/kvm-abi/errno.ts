import { KvmError } from "@hvjournal/core";

/** "0", or the errno by name. */
export function errno(ioctl: () => void): string {
  try {
    ioctl();
    return "0";
  } catch (error) {
    if (error instanceof KvmError) return error.errno;
    throw error;
  }
}
