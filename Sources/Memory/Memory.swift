/// Owned bytes, bounded tables: the cellar.
