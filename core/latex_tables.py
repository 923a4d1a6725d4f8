r"""What the commands of LaTeX are: symbols, with arguments, other spellings, or no ink at all.

The words of the convention that `latex.py` reads and writes, and that `grammar.py` allows.
"""

from __future__ import annotations


def _commands(names: str) -> frozenset[str]:
    return frozenset("\\" + name for name in names.split())


# Commands whose scripts the convention sets above and below.
LIMITS = _commands("sum int lim")

# Commands that take braced arguments, and how many; `\sqrt` may have an index before its argument.
ARGUMENTS: dict[str, int] = {
    **dict.fromkeys(_commands("frac binom overset underset stackrel"), 2),
    **dict.fromkeys(_commands("sqrt hat widehat bar overline underline tilde widetilde vec"), 1),
    **dict.fromkeys(_commands("dot ddot dddot ddddot check breve acute grave mathring"), 1),
    **dict.fromkeys(_commands("overrightarrow overleftarrow overleftrightarrow"), 1),
    **dict.fromkeys(_commands("underrightarrow underleftarrow xrightarrow xleftarrow"), 1),
    **dict.fromkeys(_commands("xlongequal overbrace underbrace boxed cancel textcircled"), 1),
    **dict.fromkeys(_commands("mathbb mathcal mathfrak mathscr"), 1),
}


def _pasted(characters: str, names: str) -> dict[str, str]:
    """What Unicode has a character for -> its command."""
    return dict(zip(characters, (f"\\{name}" for name in names.split()), strict=True))


# Other spellings of a symbol or command.
SYNONYMS: dict[str, str] = {
    r"\le": r"\leq",
    r"\ge": r"\geq",
    r"\ne": r"\neq",
    r"\lt": "<",
    r"\gt": ">",
    r"\textless": "<",
    r"\textgreater": ">",
    r"\to": r"\rightarrow",
    r"\gets": r"\leftarrow",
    r"\iff": r"\Longleftrightarrow",
    r"\implies": r"\Longrightarrow",
    r"\impliedby": r"\Longleftarrow",
    r"\dots": r"\ldots",
    r"\dotsc": r"\ldots",
    r"\dotso": r"\ldots",
    r"\hdots": r"\ldots",
    r"\dotsb": r"\cdots",
    r"\dotsm": r"\cdots",
    r"\cdotp": r"\cdot",
    r"\ldotp": ".",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\vert": "|",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\mid": "|",
    r"\textbar": "|",
    r"\colon": ":",
    r"\slash": "/",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\dbinom": r"\binom",
    r"\tbinom": r"\binom",
    r"\stackrel": r"\overset",
    r"\fbox": r"\boxed",
    r"\Bbb": r"\mathbb",
    r"\mathds": r"\mathbb",
    r"\frak": r"\mathfrak",
    r"\land": r"\wedge",
    r"\lor": r"\vee",
    r"\lnot": r"\neg",
    r"\owns": r"\ni",
    r"\mod": r"\bmod",
    "'": r"\prime",
    # As pasted from documents.
    "−": "-",  # U+2212
    **_pasted("αβγδεζηθικλμ", "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"),
    **_pasted("νξπρστυφχψω", "nu xi pi rho sigma tau upsilon phi chi psi omega"),
    **_pasted("ΓΔΘΛΞΠΣΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"),
    **_pasted("×÷·⋅±∓∘∪∩∧∨¬", "times div cdot cdot pm mp circ cup cap wedge vee neg"),
    **_pasted("≤≥≠≈≡∼∝⊂⊆∈∉⊥", "leq geq neq approx equiv sim propto subset subseteq in notin perp"),
    **_pasted(
        "→←↔⇒⇐⇔↦", "rightarrow leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow mapsto"
    ),
    **_pasted(
        "∑∏∫∮∂∇∞∀∃∅∠ℓℏ",
        "sum prod int oint partial nabla infty forall exists emptyset angle ell hbar",
    ),
    **_pasted("…⋯⋮⟨⟩⌊⌋⌈⌉", "ldots cdots vdots langle rangle lfloor rfloor lceil rceil"),
}

# Other spellings of what gives a formula its structure.
STRUCTURE: dict[str, str] = {
    r"\sp": "^",
    r"\sb": "_",
    r"\cr": r"\\",
    r"\newline": r"\\",
    r"\tabularnewline": r"\\",
    "′": "'",  # U+2032
}

# A relation crossed out by `\not`, where it has a name of its own.
NEGATIONS: dict[str, str] = {
    "=": r"\neq",
    r"\in": r"\notin",
    r"\exists": r"\nexists",
    r"\subseteq": r"\nsubseteq",
    r"\supseteq": r"\nsupseteq",
    r"\sim": r"\nsim",
    r"\cong": r"\ncong",
    r"\leq": r"\nleq",
    r"\geq": r"\ngeq",
    "<": r"\nless",
    ">": r"\ngtr",
}

# Tokens of a normalised caption that say where ink stands, and have none of their own.
PLACING = frozenset(
    {"{", "}", "^", "_", r"\limits", "&", r"\\", r"\begin{matrix}", r"\end{matrix}"}
)

# One symbol in LaTeX, two in ink and in the captions.
DOUBLE_BARS = _commands("parallel | Vert lVert rVert")

# Before a delimiter they only size it, and `.` after them is no ink.
DELIMITER_SIZES = _commands("left right middle") | frozenset(
    rf"\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", *"lrm")
)

# After one of these, `<` and `>` are brackets.
ANGLES = {"<": r"\langle", ">": r"\rangle"}

# Upright letters: where they spell a function, they are it (in text, as `\mbox`, they are words).
# The switches last to the end of their group, the others take an argument.
SWITCHES = _commands("rm bf")
UPRIGHT = SWITCHES | _commands("operatorname mathop mathrm mathsf mathbf")
# A font that counts, as a switch: only over the letters of a group it is an argument.
CALLIGRAPHIC = r"\cal"

# What leaves no ink of its own: the placing of limits (the convention decides it), spaces, sizes,
# fonts, classes of spacing.
INKLESS = (
    UPRIGHT
    | _commands("limits nolimits displaystyle textstyle scriptstyle scriptscriptstyle")
    | _commands("! , : ; > / - quad qquad enspace enskip thinspace medspace thickspace")
    | _commands("negthinspace negmedspace negthickspace nobreakspace hfill hfil null strut")
    | _commands("mathstrut nonumber notag noindent protect relax allowbreak nobreak vtop")
    | _commands("text textrm textnormal textbf mbox hbox")
    | _commands("textit textsf texttt textup textsl textsc emph mathit mathtt mathnormal")
    | _commands("boldsymbol bm pmb boldmath unboldmath it sl sf tt em mit sc")
    | _commands("mathbin mathrel mathord mathopen mathclose mathpunct mathinner ensuremath")
    | _commands("tiny scriptsize footnotesize small normalsize large Large LARGE huge Huge")
    | frozenset({"\\ ", "~"})
)

# They leave no ink, and neither does the argument in braces that they take.
INKLESS_ARGUMENTS = _commands("hspace vspace mspace label phantom hphantom vphantom")

# Commands that may carry a star, which is no ink.
STARRED = _commands("operatorname hspace vspace")

# Infix commands, as what stands before, between and after the two rows around them.
DIVISIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    r"\over": ((r"\frac", "{"), ("}", "{"), ("}",)),
    r"\choose": ((r"\binom", "{"), ("}", "{"), ("}",)),
    r"\atop": ((r"\begin{matrix}",), (r"\\",), (r"\end{matrix}",)),
}
INFIX = frozenset(DIVISIONS) | _commands("above brace brack")

# Environments that are a matrix in ink, and the delimiters that stand around it.
MATRICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(("matrix", "array", "smallmatrix", "aligned", "split", "gathered"), ((), ())),
    **dict.fromkeys(("align", "align*", "gather", "gather*", "eqnarray", "eqnarray*"), ((), ())),
    "pmatrix": (("(",), (")",)),
    "bmatrix": (("[",), ("]",)),
    "Bmatrix": ((r"\{",), (r"\}",)),
    "vmatrix": (("|",), ("|",)),
    "Vmatrix": (("|", "|"), ("|", "|")),
    "cases": ((r"\{",), ()),
    "rcases": ((), (r"\}",)),
}
# Environments that may say in brackets how they stand: `[t]`.
STANDING = frozenset(rf"\begin{{{name}}}" for name in ("array", "aligned", "gathered"))
# Environments that leave no ink around their body.
DISPLAYS = frozenset({"equation", "equation*", "displaymath", "math"})

FUNCTIONS = _commands(
    "arccos arcsin arctan arg bmod cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim "
    "liminf limsup ln log max min Pr sec sin sinh sup tan tanh"
)

# Commands that are one symbol; the convention names no other.
SYMBOLS = (
    FUNCTIONS
    | LIMITS
    | _commands("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron")
    | _commands("pi rho sigma tau upsilon phi chi psi omega varepsilon vartheta varkappa varpi")
    | _commands("varrho varsigma varphi digamma Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi")
    | _commands("Psi Omega aleph beth gimel hbar hslash ell wp Re Im imath jmath eth mho partial")
    | _commands("prod coprod iint iiint iiiint oint oiint bigcap bigcup bigsqcup bigvee bigwedge")
    | _commands("bigodot bigoplus bigotimes biguplus")
    | _commands("pm mp times div cdot ast star circ bullet cap cup uplus sqcap sqcup vee wedge")
    | _commands("setminus wr diamond oplus ominus otimes oslash odot dagger ddagger amalg bigcirc")
    | _commands("bigtriangleup bigtriangledown triangleleft triangleright ltimes rtimes lhd rhd")
    | _commands("leq geq equiv models prec succ sim perp preceq succeq simeq ll gg asymp subset")
    | _commands("supset approx bowtie subseteq supseteq cong sqsubset sqsupset neq smile frown")
    | _commands("sqsubseteq sqsupseteq doteq in ni propto vdash dashv notin leqslant geqslant")
    | _commands("lesssim gtrsim lessgtr gtrless lll ggg leqq geqq subsetneq supsetneq nsubseteq")
    | _commands("nsupseteq nmid nparallel nless ngtr nleq ngeq nsim ncong triangleq varpropto")
    | _commands("trianglelefteq trianglerighteq vDash Vdash because therefore not between")
    | _commands("leftarrow rightarrow leftrightarrow Leftarrow Rightarrow Leftrightarrow")
    | _commands("longleftarrow longrightarrow longleftrightarrow Longleftarrow Longrightarrow")
    | _commands("Longleftrightarrow mapsto longmapsto hookleftarrow hookrightarrow uparrow")
    | _commands("downarrow updownarrow Uparrow Downarrow Updownarrow nearrow searrow swarrow")
    | _commands("nwarrow leftharpoonup leftharpoondown rightharpoonup rightharpoondown leadsto")
    | _commands("rightleftharpoons leftrightharpoons rightsquigarrow twoheadrightarrow")
    | _commands("rightleftarrows leftrightarrows rightrightarrows circlearrowleft circlearrowright")
    | _commands("lfloor rfloor lceil rceil langle rangle backslash { }")
    | _commands("infty nabla forall exists nexists emptyset varnothing angle measuredangle")
    | _commands("triangle square Box Diamond blacksquare blacktriangle bigstar clubsuit heartsuit")
    | _commands("diamondsuit spadesuit top bot flat natural sharp surd prime neg complement")
    | _commands("checkmark ldots cdots vdots ddots S P copyright pounds yen # % & _ $")
)

# What TeX takes for an argument as it stands. Not all commands that are one symbol are: `\neq` and
# `\ldots` are macros of several.
ALONE = (
    _commands("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho")
    | _commands("sigma tau upsilon phi chi psi omega varepsilon vartheta varpi varrho varsigma")
    | _commands("varphi Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega aleph ell wp Re")
    | _commands("Im imath jmath partial infty nabla emptyset prime")
)

# Characters that LaTeX gives another meaning, or none, where they stand alone.
_SPECIAL_CHARACTERS = frozenset("%#$\\~")

MAX_DEPTH = 64  # nested rows and commands; the deepest formula of CROHME train, 2014, 2016 has 11


def is_known(token: str) -> bool:
    r"""Whether a token of a normalised caption is one of the convention.

    Commands that are not in these tables may be macros, typing errors or commands whose argument
    is no ink; single characters are what they are.

    >>> [token for token in (r"\alpha", "x", "{", r"\foo", "%") if not is_known(token)]
    ['\\foo', '%']
    """
    if len(token) == 1:
        return token.isprintable() and token not in _SPECIAL_CHARACTERS
    return (
        token in SYMBOLS
        or token in ARGUMENTS
        or token in (r"\limits", r"\\", r"\begin{matrix}", r"\end{matrix}")
    )
