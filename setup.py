"""How does a checkout become an installed package?  What pyproject.toml cannot say: where the folders go.

Their names (engine, corpus, tokenizer ...) are common words, which would collide in site-packages with other packages'.
So a wheel has them inside of `cloze`, in cloze/folders, which `import cloze` puts on the import path; docs/log.md says
why. `pip install --editable` leaves them where they are.
"""

import sys

from setuptools import find_packages, setup

FOUND = find_packages(exclude=["benchmarks*", "cloze*", "demo*", "docs*", "tests*"])
INSIDE = {name: f"cloze.folders.{name}" for name in [*FOUND, "recipes"]}

if "editable_wheel" in sys.argv:
    setup(packages=["cloze", *FOUND], package_dir={"": "."})  # so a .pth file names the checkout
else:
    setup(
        packages=["cloze", *INSIDE.values()],
        package_dir={inside: name for name, inside in INSIDE.items() if "." not in name},
        package_data={"": ["*.html", "*.md", "*.js"], INSIDE["recipes"]: ["*/*.yaml"]},
    )
