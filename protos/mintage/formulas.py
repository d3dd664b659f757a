"""Formulas of latents as text, such as `mean(#1, #2, #3) - #4 + turn * 2`: reads them as messages.

    sum     = product { ("+" | "-") product }
    product = factor { ("*" | "/") factor }         at most one latent; the other factors are numbers
    factor  = "-" factor | "(" sum ")" | number | sample | values | name | function "(" sum { "," sum } ")"
    sample  = [ seed ] "#" index
    values  = "[" sum { "," sum } "]"
    range   = number ":" number ":" count           in place of a number: `count` frames, the first to the second

The functions are mean, lerp, slerp, jitter and truncate. A name is that of a saved direction; it may hold `-`, so a
minus behind a name needs a space before it. `parse` reads what `text_of` writes as the same message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mintage.formula_terms import FormulaError, Number, Token, Vector, fail, number, product, quotient, tokens_of
from mintage.latents import FUNCTIONS, MAX_INDEX, MAX_SEED, interpolation, text_of
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Latent

__all__ = ["FormulaError", "parse", "text_of"]

MAX_FRAMES = 4096  # of a range
MAX_NAME = 63  # characters of a direction's name
MAX_NESTING = 64  # of parentheses, functions and signs

T = TypeVar("T")


def parse(text: str, *, seed: int = 0) -> list[Latent]:
    """Read a formula.

    Args:
        text: The formula.
        seed: That of samples without one, as in `#12`.

    Returns: the frames of its ranges; one latent if it has none.

    Raises:
        FormulaError: if it is none; says where and why.
    """
    tokens = tokens_of(text)
    first = _Parser(tokens, seed)
    latents = [first.whole()]
    latents += [_Parser(tokens, seed, frame).whole() for frame in range(1, first.frames)]
    return latents


class _Parser:
    """Reads one frame of a formula by recursive descent; `frames` is how many its ranges have, 0 without any."""

    def __init__(self, tokens: Sequence[Token], seed: int, frame: int = 0) -> None:
        self.frames = 0
        self._tokens = tokens
        self._seed = seed
        self._frame = frame
        self._at = 0
        self._nesting = 0

    def whole(self) -> Latent:
        """Read everything."""
        latent = self._latent()
        if self._token.text:
            fail(self._token, f"expected an operator or the end, not {self._token.shown}")
        return latent

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._token
        self._at += token.kind != "end"
        return token

    def _taken(self, text: str) -> bool:
        """Take a token if it is the one."""
        taken = self._token.text == text
        self._at += taken
        return taken

    def _expect(self, text: str) -> None:
        if not self._taken(text):
            fail(self._token, f"expected '{text}', not {self._token.shown}")

    def _latent(self) -> Latent:
        found = self._sum()
        if isinstance(found, Number):
            fail(found, "expected a latent, not a number")
        return found.latent

    def _scalar(self) -> float:
        found = self._sum()
        if isinstance(found, Vector):
            fail(found, "expected a number, not a latent")
        return found.value

    def _sum(self) -> Number | Vector:
        column, sign = self._token.column, 1
        terms = [(1, self._product())]
        while self._token.text and self._token.text in "+-":
            sign = 1 if self._take().text == "+" else -1
            terms.append((sign, self._product()))
        if len(terms) == 1:
            return terms[0][1]
        numbers = [sign * term.value for sign, term in terms if isinstance(term, Number)]
        vectors = [term.term(sign) for sign, term in terms if isinstance(term, Vector)]
        if numbers and vectors:
            other = next(term for _, term in terms if type(term) is not type(terms[0][1]))
            fail(other, "a number and a latent cannot be added")
        if numbers:
            return number(column, sum(numbers[1:], numbers[0]))
        return Vector(column, Latent(sum=latents_pb2.LatentSum(terms=vectors)))

    def _product(self) -> Number | Vector:
        left = self._factor()
        while self._token.text and self._token.text in "*/":
            operate = quotient if self._take().text == "/" else product
            left = operate(left, self._factor())
        return left

    def _factor(self) -> Number | Vector:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            fail(self._token, f"it is nested more than {MAX_NESTING} deep")
        token, behind = self._token, self._tokens[self._at + (self._token.kind != "end")]
        if token.text == "-":
            found = self._negative()
        elif self._taken("("):
            inside = self._sum()
            self._expect(")")
            found = inside if isinstance(inside, Number) else Vector(token.column, inside.latent)
        elif self._taken("["):
            values = self._list("]", self._scalar)
            found = Vector(token.column, Latent(values=latents_pb2.LatentValues(values=values)))
        elif token.text == "#" or (token.kind == "number" and behind.text == "#"):
            found = Vector(token.column, self._sample())
        elif token.kind == "number":
            found = self._number()
        elif token.kind == "name":
            found = Vector(token.column, self._function() if behind.text == "(" else self._direction())
        else:
            fail(token, f"expected a latent or a number, not {token.shown}")
        self._nesting -= 1
        return found

    def _negative(self) -> Number | Vector:
        """Read what begins with a minus: a negative number, a range from one, or the opposite of a factor."""
        minus, number, behind = self._tokens[self._at : self._at + 3]
        if number.kind == "number" and behind.text != "#":
            return self._number()
        self._take()
        found = self._factor()
        if isinstance(found, Number):
            return Number(minus.column, -found.value)
        return Vector(minus.column, found.body, -found.factor)

    def _number(self) -> Number:
        """Read a number with its sign, or a range."""
        column, start = self._token.column, self._signed()
        if not self._taken(":"):
            return Number(column, start)
        end = self._signed()
        last = self._frames() - 1
        return number(column, end if self._frame == last else start + (end - start) * self._frame / last)

    def _signed(self) -> float:
        sign = -1 if self._taken("-") else 1
        token = self._take()
        if token.kind != "number":
            fail(token, f"expected a number, not {token.shown}")
        return sign * number(token.column, float(token.text)).value

    def _frames(self) -> int:
        """Read what ends a range: the number of its frames, the same for all ranges."""
        self._expect(":")
        token, count = self._token, self._whole(MAX_FRAMES, "the number of frames")
        if count < 2 or self.frames not in (0, count):
            same = f"all ranges of a formula have as many frames: {self.frames}, not {count}"
            fail(token, same if count >= 2 else f"a range has at least 2 frames, not {count}")
        self.frames = count
        return count

    def _whole(self, most: int, what: str) -> int:
        token = self._take()
        if not token.text.isdecimal() or int(token.text) > most:
            fail(token, f"{what} must be a whole number up to {most}, not {token.shown}")
        return int(token.text)

    def _whole_or_range(self, most: int, what: str) -> int:
        token, start = self._token, self._whole(most, what)
        if not self._taken(":"):
            return start
        end = self._whole(most, what)
        step, rest = divmod(end - start, self._frames() - 1)
        if rest:
            fail(token, f"{what} must be whole in every frame, but {self.frames} from {start} to {end} are not")
        return start + step * self._frame

    def _sample(self) -> Latent:
        seed = self._seed if self._token.text == "#" else self._whole(MAX_SEED, "a seed")
        self._expect("#")
        return Latent(sample=latents_pb2.SampleLatent(seed=seed, index=self._whole_or_range(MAX_INDEX, "an index")))

    def _direction(self) -> Latent:
        token = self._take()
        if token.text in FUNCTIONS:
            fail(self._token, f"expected '(' behind '{token.text}', not {self._token.shown}")
        if len(token.text) > MAX_NAME:
            fail(token, f"a name has at most {MAX_NAME} characters")
        return Latent(direction=token.text)

    def _function(self) -> Latent:
        name = self._take()
        if name.text not in FUNCTIONS:
            fail(name, f"there is no function '{name.text}', only {', '.join(FUNCTIONS)}")
        self._take()
        if name.text == "mean":
            return Latent(mean=latents_pb2.LatentList(latents=self._list(")", self._latent)))
        latent = self._latent()
        self._expect(",")
        if name.text == "truncate":
            found = Latent(truncate=latents_pb2.LatentTruncation(latent=latent, share=self._scalar()))
        elif name.text == "jitter":
            seed = self._whole_or_range(MAX_SEED, "a seed")
            self._expect(",")
            found = Latent(jitter=latents_pb2.LatentJitter(latent=latent, seed=seed, half_width=self._scalar()))
        else:
            end = self._latent()
            self._expect(",")
            found = interpolation(name.text, latent, end, self._scalar())
        self._expect(")")
        return found

    def _list(self, end: str, read: Callable[[], T]) -> list[T]:
        """Read what commas divide, up to the end of the list."""
        found = [read()]
        while self._taken(","):
            found.append(read())
        self._expect(end)
        return found
