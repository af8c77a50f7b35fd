/** An agency and all below it, nested, with the number of accounts of each and of its subtree. */
import type { AgencyTree } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { countAccounts, listTree, requireAgency } from './agency-store.ts';

export async function agencyTree(database: Database, code: string, scope: string, depth: number): Promise<AgencyTree> {
  await requireAgency(database, code, scope);
  const rows = await listTree(database, code);
  const accounts = await countAccounts(
    database,
    rows.map((row) => row.code),
  );
  const children = Map.groupBy(rows, (row) => row.parent_code);
  const nodes = new Map<string, AgencyTree>();
  for (const row of rows) {
    const own = accounts.get(row.code) ?? 0;
    nodes.set(row.code, {
      code: row.code,
      name: row.name,
      level: row.level,
      shortName: row.short_name,
      status: row.status,
      successorCode: row.successor_code,
      accounts: own,
      accountsInSubtree: own,
      agenciesInSubtree: 0,
      children: [],
    });
  }
  // From the top down, then counted from the bottom up.
  const order: { node: AgencyTree; level: number }[] = [{ node: nodes.get(code) as AgencyTree, level: 0 }];
  const parents = new Map<AgencyTree, AgencyTree>();
  for (const { node, level } of order) {
    for (const row of children.get(node.code) ?? []) {
      const child = nodes.get(row.code);
      if (!child || row.code === code) continue;
      parents.set(child, node);
      if (level < depth) node.children.push(child);
      order.push({ node: child, level: level + 1 });
    }
  }
  for (const { node } of order.reverse()) {
    const parent = parents.get(node);
    if (!parent) continue;
    parent.accountsInSubtree += node.accountsInSubtree;
    parent.agenciesInSubtree += node.agenciesInSubtree + 1;
  }
  return nodes.get(code) as AgencyTree;
}
