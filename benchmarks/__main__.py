"""python -m benchmarks: what can be measured, and the command for each."""

import ast
from pathlib import Path


def main() -> None:
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        said = ast.get_docstring(ast.parse(file.read_text())) or ""
        summary = " ".join(said.split("\n\n")[0].split())
        print(f"python -m benchmarks.{file.stem}\n    {summary}")


if __name__ == "__main__":
    main()
