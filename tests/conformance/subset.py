#!/usr/bin/env python3
"""Copies those recorded answers of which a run has an answer, so that what was not asked does not
count as wrong.

    subset.py GOLDEN_DIRECTORY ANSWERS.json TARGET_DIRECTORY
"""

import json
import pathlib
import sys

golden, answers, target = map(pathlib.Path, sys.argv[1:])
asked = json.loads(answers.read_text(encoding="utf-8"))["results"]
target.mkdir(parents=True, exist_ok=True)
for file in sorted(golden.glob("*.json")):
    category = json.loads(file.read_text(encoding="utf-8"))
    category["cases"] = {name: case for name, case in category["cases"].items() if name in asked}
    text = json.dumps(category, ensure_ascii=False)
    (target / file.name).write_text(text, encoding="utf-8")
