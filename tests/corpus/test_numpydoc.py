"""Is a docstring read for what it says, in each of the three dialects, and nothing that is not prose?"""

import pytest

from corpus.text.numpydoc import Parameter, plain, read, tidy

NUMPYDOC = """
    Sum the elements of an array over a given axis.

    The result has one dimension fewer than `a`, see
    :func:`~numpy.linalg.norm` [1]_.

    Parameters
    ----------
    a : array_like
        Elements to sum.
    axis : None or int, optional
        Axis along which the sum is taken. The default is to
        sum all of the elements.

        .. versionadded:: 1.7.0
    *args
        Further positional arguments, all of them ignored.

    Returns
    -------
    total : ndarray
        An array with the given axis removed.

    See Also
    --------
    ndarray.sum : The same as a method of the array.

    Examples
    --------
    Small sums are quick to take:

    >>> sum([1, 2])
    3

    References
    ----------
    .. [1] A. Author, "A paper about sums", 2001.
"""

GOOGLE = """Applies dropout to the input tensor.

Args:
    input (Tensor): the input tensor of any shape, whose
        elements may be zeroed
    p (float, optional): probability of an element to be zeroed.
    training: apply dropout if the model is in training.

Returns:
    Tensor: a tensor of the same shape as the input.

Example::

    >>> m = nn.Dropout(p=0.2)

.. note::
    This has no effect when the model is evaluated.
"""

HUGGING_FACE = """
    Constructs a new tokenizer, see [`~models.bert.BertTokenizer`] and [the guide](https://hf.co/guide).

    Args:
        vocab_size (`int`, *optional*, defaults to 30522):
            Vocabulary size of the **BERT** model. Defines how many tokens there are.
        hidden_act (`str` or `function`, *optional*, defaults to `"gelu"`):
            The non-linear activation function.

    <Tip>

    This class is a small test of tips.

    </Tip>

    ```python
    >>> tokenizer = BertTokenizer()
    tokenizer of the example in words
    ```
"""


def test_numpydoc_is_read_in_its_order():
    assert list(read(NUMPYDOC)) == [
        "Sum the elements of an array over a given axis.",
        "The result has one dimension fewer than `a`, see `norm`.",
        Parameter("a", "array_like", "Elements to sum."),
        Parameter(
            "axis",
            "None or int, optional",
            "Axis along which the sum is taken. The default is to sum all of the elements.",
        ),
        Parameter("args", "", "Further positional arguments, all of them ignored."),
        "An array with the given axis removed.",
        "Small sums are quick to take:",
    ]


def test_google_is_read():
    assert list(read(GOOGLE)) == [
        "Applies dropout to the input tensor.",
        Parameter("input", "Tensor", "the input tensor of any shape, whose elements may be zeroed"),
        Parameter("p", "float, optional", "probability of an element to be zeroed."),
        Parameter("training", "", "apply dropout if the model is in training."),
        "a tensor of the same shape as the input.",
        "This has no effect when the model is evaluated.",
    ]


def test_hugging_face_is_read():
    assert list(read(HUGGING_FACE)) == [
        "Constructs a new tokenizer, see `BertTokenizer` and the guide.",
        Parameter(
            "vocab_size",
            "int, optional, defaults to 30522",
            "Vocabulary size of the BERT model. Defines how many tokens there are.",
        ),
        Parameter("hidden_act", 'str or function, optional, defaults to "gelu"', "The non-linear activation function."),
        "This class is a small test of tips.",
    ]


@pytest.mark.parametrize(
    ("written", "marked"),
    [
        ("use ``x`` or `y`", "use `x` or `y`"),
        ("a :class:`~torch.nn.Module` of :py:func:`a.b`", "a `Module` of `a.b`"),
        ("*both* and **all** of *args", "both and all of *args"),
        ("`the guide <https://x.org>`_ of [`Model`]", "the guide of `Model`"),
        ("2 * x * y stays", "2 * x * y stays"),
    ],
)
def test_only_backticks_stay_of_the_markup(written, marked):
    assert tidy(written) == marked
    assert "`" not in plain(marked)


@pytest.mark.parametrize(
    "code",
    [
        "+-----+-----+\n| one | two words here |\n+-----+-----+",
        "===== =====\nthe first column and the second\n===== =====",
        ".. math::\n\n    the square of the sum of all",
        ".. code-block:: python\n\n    for each of them in the list",
        "Like this::\n\n    for each of them in the list",
        r"The sum \sum_i of all the numbers.",
        "See https://example.org for all the rest.",
        "x = f(y)[0] + g(z, 1)",
        "```python\nfor each of them in the list\n```",
    ],
)
def test_what_is_not_prose_is_left_out(code):
    assert list(read(f"A first line of prose.\n\n{code}\n\nA last line of prose.")) == [
        "A first line of prose.",
        "A last line of prose.",
    ]


def test_a_heading_under_waves_is_a_heading_and_opens_no_code():
    assert list(read("Notes\n~~~~~\nThis stands below a heading.\n\nAnd so does this one.")) == [
        "This stands below a heading.",
        "And so does this one.",
    ]


def test_an_empty_docstring_says_nothing():
    assert list(read("")) == []
