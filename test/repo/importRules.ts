/**
 * The import rules of docs/architecture.md as a pure check over sources, so that its test can show it failing.
 */
import path from 'node:path';
import { parseSync } from '@swc/core';

const PARTS = ['contract', 'access', 'pki', 'metrics', 'agent', 'scheduler', 'cli', 'dashboard'];
/** What all of them may import. */
const SHARED = ['contract', 'access', 'pki', 'metrics'];
const ADDON_LOADER = 'agent/native/index.ts';
const ADDON_PACKAGES = new Set(['bindings', 'node-gyp-build', 'pkg-prebuilds']);

/** What one file refers to: module specifiers, and other literals that could name the addon. */
export interface References {
  specifiers: string[];
  addonHints: string[];
}

/** @param source TypeScript; throws when it does not parse */
export function readReferences(source: string): References {
  const references: References = { specifiers: [], addonHints: [] };
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      for (const child of node) visit(child);
      return;
    }
    if (typeof node !== 'object' || node === null) return;
    const { type, ...fields } = node as { type?: string } & Record<string, unknown>;
    const specifier = specifierOf(type, fields);
    if (specifier !== undefined) references.specifiers.push(specifier);
    else if (type === 'StringLiteral' && /\.node$/.test(String(fields.value)))
      references.addonHints.push(`names ${fields.value}`);
    else if (type === 'Identifier' && fields.value === 'dlopen') references.addonHints.push('calls dlopen');
    if (specifier === undefined || type === 'CallExpression') for (const child of Object.values(fields)) visit(child);
  };
  visit(parseSync(source, { syntax: 'typescript', decorators: true, target: 'es2022' }));
  return references;
}

function specifierOf(type: string | undefined, fields: Record<string, unknown>): string | undefined {
  const literal = (node: unknown): string | undefined => {
    const { type: kind, value } = (node ?? {}) as { type?: string; value?: unknown };
    return kind === 'StringLiteral' && typeof value === 'string' ? value : undefined;
  };
  switch (type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ExportNamedDeclaration':
      return literal(fields.source);
    case 'TsImportType':
      return literal(fields.argument);
    case 'TsExternalModuleReference':
      return literal(fields.expression);
    case 'CallExpression': {
      const callee = fields.callee as { type: string; value?: string };
      const loads = callee.type === 'Import' || (callee.type === 'Identifier' && callee.value === 'require');
      return loads ? literal((fields.arguments as { expression: unknown }[])[0]?.expression) : undefined;
    }
    default:
      return undefined;
  }
}

const partOf = (file: string): string => file.split('/')[0] ?? '';
const isWithin = (file: string, folder: string): boolean => file.startsWith(`${folder}/`);

/** @returns the file of `sources` that a relative specifier means, or undefined */
function resolve(from: string, specifier: string, sources: ReadonlyMap<string, string>): string | undefined {
  const base = path.posix.join(path.posix.dirname(from), specifier);
  const candidates = [base, `${base}.ts`, base.replace(/\.js$/, '.ts'), `${base}/index.ts`];
  return candidates.find((candidate) => sources.has(candidate));
}

/**
 * @param sources  path relative to the repository, with `/`, → TypeScript source
 * @returns one sentence per violation, empty when the rules hold
 */
export function findImportViolations(sources: ReadonlyMap<string, string>): string[] {
  const violations: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [file, source] of sources) {
    const references = readReferences(source);
    const targets: string[] = [];
    for (const specifier of references.specifiers) {
      const relative = specifier.startsWith('.');
      const target = relative ? resolve(file, specifier, sources) : undefined;
      if (target !== undefined) targets.push(target);
      const data = relative && /\.(json|node)$/.test(specifier);
      if (relative && target === undefined && !data) violations.push(`${file}: ${specifier} leads to no source file`);
      else if (!data) violations.push(...ruleViolations(file, specifier, target));
    }
    graph.set(file, targets);
    if (file !== ADDON_LOADER) {
      const packages = references.specifiers.filter((specifier) => ADDON_PACKAGES.has(specifier));
      const hints = [...references.addonHints, ...packages.map((name) => `imports ${name}`)];
      const addons = references.specifiers.filter((specifier) => specifier.endsWith('.node'));
      for (const hint of [...hints, ...addons.map((name) => `imports ${name}`)]) {
        violations.push(`${file}: only ${ADDON_LOADER} loads the addon, but this ${hint}`);
      }
    }
    if (path.posix.basename(file) === 'index.ts' && file !== ADDON_LOADER) {
      violations.push(`${file}: no barrel files; import from the file that defines the thing`);
    }
  }
  return [...violations, ...findCycles(graph).map((cycle) => `import cycle: ${cycle.join(' → ')}`)];
}

/** @param target undefined: a package or a module of Node */
function ruleViolations(file: string, specifier: string, target: string | undefined): string[] {
  const part = partOf(file);
  if (part === 'contract') {
    const allowed = target === undefined ? specifier === 'zod' : partOf(target) === 'contract';
    return allowed ? [] : [`${file}: contract imports only zod and itself, not ${specifier}`];
  }
  if (isWithin(file, 'scheduler/core')) {
    const allowed = target !== undefined && (isWithin(target, 'scheduler/core') || partOf(target) === 'contract');
    return allowed ? [] : [`${file}: scheduler/core imports only contract and itself, not ${specifier}`];
  }
  if (target === undefined) return [];
  const other = partOf(target);
  const foreign = PARTS.includes(part) && other !== part && !SHARED.includes(other);
  return foreign ? [`${file}: ${part} and ${other} share only ${SHARED.join(' and ')}, so not ${specifier}`] : [];
}

/** @returns each cycle once, as the files along it, the first repeated at the end */
function findCycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (file: string): void => {
    const at = trail.indexOf(file);
    if (at >= 0) {
      cycles.push([...trail.slice(at), file]);
      return;
    }
    if (done.has(file)) return;
    trail.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    trail.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return cycles;
}
