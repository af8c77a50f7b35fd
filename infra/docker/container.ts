/**
 * What an engine's container gives its entry program: values from the environment or from secret files, a directory in memory
 * for the rendered configuration (it holds passwords), and a volume for what must survive. Same templates, same renderer and
 * same strictness as the local stack: a value that is not given is an error that names it.
 */
import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { renderTemplate, repository, type TemplateValues } from '../local/state.ts';

export interface Container {
  /** Configuration, rendered anew at each start; in memory. */
  readonly config: string;
  /** The volume. */
  readonly data: string;
  /** `NAME`, or what the file named by `NAME_FILE` holds; one line. @throws ServiceError that names it when it is not given. */
  value(name: string): string;
  /** The same for PEM and other text of many lines. */
  text(name: string): string;
  /** Several values at once, for a template. */
  values(...names: string[]): TemplateValues;
  /** Fills a template of `infra/` and writes it below `config`. @returns its path. */
  render(template: string, file: string, values: TemplateValues, access?: Access): string;
  /** Writes a file below `config`. @returns its path. */
  write(file: string, content: string, access?: Access): string;
}

/** Mode 0600 and our own user unless told. */
export interface Access {
  mode?: number;
  gid?: number;
}

/** What becomes of the container once everything is prepared. */
export interface Daemon {
  /** Absolute path. */
  command: string;
  args: readonly string[];
  /** A log file on a volume, and the command after which the daemon writes to a new one. */
  log?: { file: string; reopen: readonly string[] };
}

/** One engine: `configure` only writes below `config`; `prepare` makes first-time data on the volume. */
export interface Engine {
  configure(container: Container): Daemon;
  prepare?(container: Container): Promise<void>;
}

/** @param environment as in a process: names in upper case; a `NAME_FILE` stands for the content of that file. */
export function openContainer(environment: NodeJS.ProcessEnv, config: string, data: string): Container {
  const text = (name: string): string => {
    const given = environment[name];
    if (given !== undefined) return given;
    const file = environment[`${name}_FILE`];
    if (!file) throw fault('value_missing', `${name} is not set, nor ${name}_FILE`);
    try {
      return readFileSync(file, 'utf8').trimEnd();
    } catch (cause) {
      throw fault('value_unreadable', `${name}_FILE: the file that it names cannot be read`, cause);
    }
  };
  const container: Container = {
    config,
    data,
    text,
    value(name) {
      const value = text(name);
      // A line break in a password would be a line of configuration of its own.
      if (/\p{Cc}/u.test(value)) throw fault('value_malformed', `${name} must be one line without control characters`);
      return value;
    },
    values: (...names) => Object.fromEntries(names.map((name) => [name, container.value(name)])),
    render(template, file, values, access) {
      const content = readFileSync(join(repository, 'infra', template), 'utf8');
      return container.write(file, renderTemplate(template, content, values), access);
    },
    write(file, content, { mode = 0o600, gid } = {}) {
      const path = join(config, file);
      const draft = `${path}.new`;
      mkdirSync(join(path, '..'), { recursive: true, mode: 0o755 });
      rmSync(draft, { force: true });
      writeFileSync(draft, content, { mode: 0o600, flag: 'wx' });
      if (gid !== undefined && process.getuid?.() === 0) chownSync(draft, 0, gid);
      chmodSync(draft, mode);
      renameSync(draft, path);
      return path;
    },
  };
  return container;
}

const fault = (code: string, detail: string, cause?: unknown): ServiceError =>
  new ServiceError({ kind: 'invalid', code, detail, cause });
