"""Find the places of a module where one small mistake could stand, and make the module with one of these mistakes."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# (operator, its opposite); a boundary only moves the case of equality
OPPOSITE = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
SIGN = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}

LOGGING = {"debug", "info", "warning", "error", "exception", "log", "rank_zero_info", "rank_zero_debug", "print"}
WARNING = {"warn", "rank_zero_warn"}  # dropping a warning is a mutant, another wording of it is none


@dataclass(frozen=True)
class Site:
    """Describe one possible mistake."""

    kind: str
    """Comparison, boundary, sign, constant or dropped statement."""
    line: int
    column: int
    reached_by: tuple[int, int] | None
    """First and last line of the statement that holds it: a run that executes none of them cannot notice the mistake.
    None where the statement runs on import."""
    change: str
    """What becomes of what."""
    make: Callable[[], None] = field(compare=False)
    """Make the mistake in the tree that the site was found in."""


def find_sites(tree: ast.Module) -> list[Site]:
    """Find all mistakes that can be made in a module, in the order of the text.

    Left alone are docstrings, annotations, ``__all__``, what only a type checker reads, and the wording of errors,
    warnings and log lines.
    """
    finder = _Finder()
    finder.block(tree, "body")
    return sorted(finder.found, key=lambda site: (site.line, site.column, site.kind, site.change))


def make_mutant(source: str, number: int) -> ast.Module:
    """Make the module of ``source`` with the mistake of that number in ``find_sites``; all line numbers stay."""
    tree = ast.parse(source)
    find_sites(tree)[number].make()
    return ast.fix_missing_locations(tree)


class _Finder(ast.NodeVisitor):
    """Collect the sites, only where a mistake could change what the program does."""

    def __init__(self) -> None:
        self.found: list[Site] = []
        self.statement: ast.stmt | None = None
        self.depth = 0  # how many functions are around the statement
        self.bound: set[str] = set()  # names that the function has bound so far

    def add(self, kind: str, node: Any, change: str, make: Callable[[], None]) -> None:
        reached = _find_header(self.statement) if self.depth and self.statement is not None else None
        self.found.append(Site(kind, node.lineno, node.col_offset, reached, change, make))

    def block(self, owner: Any, name: str) -> None:
        """Visit the statements of a block."""
        statements = getattr(owner, name)
        nested = not isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module, ast.ClassDef))
        for index, statement in enumerate(statements):
            before = self.statement
            self.statement = statement
            if self.depth and self._can_be_dropped(statement, nested):
                text = ast.unparse(statement).splitlines()[0]

                def drop(statements: list[ast.stmt] = statements, index: int = index) -> None:
                    statements[index] = ast.copy_location(ast.Pass(), statements[index])

                self.add("dropped statement", statement, f"{text} → pass", drop)
            self.visit(statement)
            self.bound |= {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            self.statement = before

    def _can_be_dropped(self, statement: ast.stmt, nested: bool) -> bool:
        match statement:
            case ast.Expr(value=ast.Call() as call):
                return _name_of_call(call) not in LOGGING
            case ast.Return():
                return (
                    nested  # the last return of a function is left alone: any test would notice that nothing comes back
                )
            case ast.Raise() | ast.Continue() | ast.Break() | ast.Delete() | ast.AugAssign() | ast.Assert():
                return True
            case ast.Assign(targets=targets):  # a name that was never bound would only be a NameError
                stored = [node for target in targets for node in ast.walk(target)]
                names = {node.id for node in stored if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
                return names <= self.bound
        return False

    # Statements -------------------------------------------------------------------------------------------------------

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self.block(node, name)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.visit(item)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(part)
        outside = self.bound
        self.bound = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        self.depth += 1
        self.block(node, "body")
        self.depth -= 1
        self.bound = outside

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self.block(node, "orelse")
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id in {"__all__", "__slots__"} for target in node.targets):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap(node, "sign", SIGN)
        if isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            self._swap(node, "comparison", OPPOSITE)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave the wording of an error alone."""

    # Expressions ------------------------------------------------------------------------------------------------------

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave text alone."""

    def visit_Call(self, node: ast.Call) -> None:
        name = _name_of_call(node)
        if name not in LOGGING | WARNING and not name.endswith(("Error", "Warning")):
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            for kind, table in (("comparison", OPPOSITE), ("boundary", BOUNDARY)):
                if type(operator) in table:
                    self._replace(kind, node, node.ops, index, table[type(operator)]())
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._swap(node, "comparison", OPPOSITE)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(map(_is_sequence, (node.left, node.right))):  # lists and texts have no difference
            self._swap(node, "sign", SIGN)
        if isinstance(node.op, (ast.BitAnd, ast.BitOr)) and not all(map(_is_type, (node.left, node.right))):
            self._swap(node, "comparison", OPPOSITE)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, ast.UAdd):
            kind = "sign" if isinstance(node.op, ast.USub) else "comparison"

            def remove_sign() -> None:
                if isinstance(node.op, ast.USub):
                    node.op = ast.UAdd()
                else:  # twice the same operator: a + before a tensor of truth values would only be refused
                    node.operand = ast.copy_location(ast.UnaryOp(node.op, node.operand), node)

            bare = ast.unparse(node.operand)
            self.add(kind, node, f"{ast.unparse(node)} → {bare}", remove_sign)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            new = not node.value
        elif isinstance(node.value, (int, float)):
            new = node.value + 1
        else:
            return

        def change() -> None:
            node.value = new

        self.add("constant", node, f"{node.value!r} → {new!r}", change)

    def _swap(self, node: Any, kind: str, table: dict[Any, Any]) -> None:
        if type(node.op) in table:
            old = ast.unparse(node)
            new = table[type(node.op)]()
            kept = node.op
            node.op = new
            change = f"{old} → {ast.unparse(node)}"
            node.op = kept
            self.add(kind, node, change, lambda: setattr(node, "op", new))

    def _replace(self, kind: str, node: ast.Compare, operators: list[ast.cmpop], index: int, new: ast.cmpop) -> None:
        old = ast.unparse(node)
        kept = operators[index]
        operators[index] = new
        change = f"{old} → {ast.unparse(node)}"
        operators[index] = kept

        def replace() -> None:
            operators[index] = new

        self.add(kind, node, change, replace)


def _find_header(statement: ast.stmt) -> tuple[int, int]:
    """Find the lines of a statement, without the blocks inside it."""
    blocks: Iterator[Any] = (getattr(statement, name, None) for name in ("body", "cases"))
    inner = next((block for block in blocks if block), None)
    if inner is None:
        return statement.lineno, statement.end_lineno or statement.lineno
    first = inner[0].pattern.lineno if isinstance(inner[0], ast.match_case) else inner[0].lineno
    return statement.lineno, max(statement.lineno, first - 1)


def _name_of_call(call: ast.Call) -> str:
    """Return the last part of the name that is called."""
    return ast.unparse(call.func).split(".")[-1]


def _is_sequence(node: ast.expr) -> bool:
    return isinstance(node, (ast.List, ast.Tuple, ast.JoinedStr, ast.ListComp)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_type(node: ast.expr) -> bool:
    name = ast.unparse(node)
    return name in {"None", "str", "int", "float", "bool", "bytes"} or name.split(".")[-1].split("[")[0][:1].isupper()
