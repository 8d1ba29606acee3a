"""One counting query in SQL: what may be asked, and who answers to it.

For engines that answer analysts, the private one and those under attack. sqlglot parses, DuckDB evaluates; the
analyst's text itself reaches no database.
"""

from sfumato.sql.grammar import Answer, Condition, CountQuery, Grammar, Kind
from sfumato.sql.people import PersonTable

__all__ = ["Answer", "Condition", "CountQuery", "Grammar", "Kind", "PersonTable"]
