"""Lines for psql, with names quoted. Names of a server are hostile: nothing that is printed here moves a terminal's cursor."""

from psycopg import sql


def identifier(name: str) -> str:
    """A name as an identifier; with what cannot be printed as an escape."""
    if name.isprintable():
        return sql.Identifier(name).as_string(None)
    inner = "".join(_escaped(each) for each in name)
    return f'U&"{inner}"'


def literal(text: str) -> str:
    """A text as a literal."""
    return sql.Literal(text).as_string(None).strip()


def connect_line(database: str) -> str:
    """The meta-command that goes to a database. psql takes what looks like a connection string for one, and no line break."""
    if not database.isprintable():
        return f"-- first connect to database {identifier(database)}, whose name \\connect cannot take"
    quoted = database.replace('"', '""')
    if "=" in database or "://" in database:
        words = quoted.replace("\\", "\\\\").replace("'", "\\'")
        return f"\\connect -reuse-previous=on \"dbname='{words}'\""
    return f'\\connect "{quoted}"'


def in_database(database: str, statements: str) -> str:
    """Statements for one database; for any when it is empty."""
    return f"{connect_line(database)}\n{statements}" if database else statements


def _escaped(character: str) -> str:
    if character in '"\\':
        return character * 2
    return character if character.isprintable() else f"\\+{ord(character):06x}"
