/** PostgreSQL's text and jsonb hold no NUL and no half of a surrogate pair, and nothing that people read needs them. */
export const isStorableText = (text: string): boolean => !text.includes('\0') && text.isWellFormed();
