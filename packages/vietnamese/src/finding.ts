/**
 * What a parser of this package has to say about its input: a fault (the input is refused), a correction (accepted, and
 * changed as stated) or a warning (accepted, and worth a look). No detail ever holds an identity or telephone number.
 */

export interface Finding {
  /** Stable, machine-readable, `snake_case`; never renamed once released. */
  readonly code: string;
  /** One plain sentence: what was found or changed and, for a fault, what to do. */
  readonly detail: string;
}

/** Refused input, with every fault that was found. */
export interface Refused {
  readonly ok: false;
  readonly faults: readonly Finding[];
}

/** A refusal for one fault. */
export function refused(code: string, detail: string): Refused {
  return { ok: false, faults: [{ code, detail }] };
}
