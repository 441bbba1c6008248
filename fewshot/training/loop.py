"""train(): the one loop that changes weights. It selects on val, keeps checkpoints, and resumes to the bit."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial, reduce
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from episodes.augment import AUGMENTATIONS, half_size
from episodes.errors import Interrupted, UserError
from episodes.sampler import TrainingSampler
from fewshot.models.hardware import Precision, device_for_images
from fewshot.models.methods.base import Method
from fewshot.models.tensor_files import CheckpointError, load_tensors, save_tensors
from fewshot.statistics.intervals import Interval
from fewshot.training.optimizers import AnyOptimizer, optimizer_for
from fewshot.training.recipes import Recipe
from fewshot.training.step import compiled_loss, loss_of, train_step

_LOSS_CHECK = 20  # training episodes between looks at the loss; a look at a GPU's loss waits for the GPU
_SECONDS_BETWEEN_STATES = 10.0
_STOPPED = "stopped after training episode {episode}; the same command goes on from there (--fresh would begin anew)"


class TrainingError(UserError):
    """Training that cannot go on. The message says what to try."""


@dataclass(frozen=True)
class Validation:
    """One look at the validation classes. ``loss`` is the mean training loss since the look before."""

    episode: int
    loss: float
    accuracy: float
    ci95: float
    seconds: float


@dataclass
class Progress:
    """Where a training stands; handed to the callback every few episodes, with the mean loss of those."""

    episode: int
    train_episodes: int
    loss: float
    episodes_per_second: float
    validation: Validation | None


@dataclass
class _State:
    """What is saved besides the weights."""

    episode: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0  # of these
    history: list[Validation] = field(default_factory=list)
    loss_sum: float = 0.0  # since the last validation
    loss_count: int = 0
    half_size_until: float = 0  # weights that saw no whole image since are not chosen

    @property
    def last(self) -> Validation | None:
        return self.history[-1] if self.history else None

    @property
    def best(self) -> Validation | None:
        whole = [validation for validation in self.history if validation.episode > self.half_size_until]
        return max(whole, key=lambda validation: validation.accuracy, default=None)


@dataclass(frozen=True)
class TrainingResult:
    """The history of validations, the chosen one, and the time training took; ``seconds`` holds both."""

    history: tuple[Validation, ...]
    selected: Validation
    seconds: float
    validation_seconds: float

    def __repr__(self) -> str:
        best, last = self.selected, self.history[-1]
        val = f"val {100 * best.accuracy:.2f} ± {100 * best.ci95:.2f} % at {best.episode:,}"
        return f"TrainingResult({last.episode:,} episodes in {self.seconds:.1f} s, {val})"


def train(
    method: Method,
    sampler: TrainingSampler,
    recipe: Recipe,
    validate: Callable[[Method], Interval],
    *,
    precision: Precision = "fp32",
    compiled: bool = False,
    state_path: Path | None = None,
    on_progress: Callable[[Progress], object] = lambda _: None,
) -> TrainingResult:
    """Train ``method`` on the episodes of ``sampler`` and leave in it the weights that validated best.

    ``validate`` measures the method on the validation classes. With ``state_path`` the whole state is saved every few
    seconds, and a later call goes on from it: an interrupted training ends with the same weights, bit for bit, as an
    undisturbed one. With ``compiled`` steps go through PyTorch's compiler. What a method draws at random in training
    (dropout) follows from the sampler's seed and the number of the episode. Raises TrainingError when the loss is no
    longer a number, Interrupted on Ctrl-C.
    """
    optimizer, state, best = _begin(method, recipe, state_path)
    device = method.encoder.mean.device
    images, loss = _images_on(device, sampler), compiled_loss(device) if compiled else loss_of
    start_here, first_here, losses = time.perf_counter(), state.episode, list[Tensor]()
    start, last_saved = start_here - state.seconds, start_here
    method.train()
    with _stop_requested() as stop, torch.random.fork_rng([device] if device.type != "cpu" else []):
        for episode in sampler.steps(state.episode, recipe.train_episodes, images.device):
            augment = _prepare_step(optimizer, recipe, sampler.seed, state.episode, device)
            losses.append(train_step(method, optimizer, images, episode, precision, augment, bool(recipe.turns), loss))
            state.episode += 1
            at_validation = _is_validation(recipe, state)
            if not (at_validation or len(losses) == _LOSS_CHECK or stop.is_set()):
                continue
            recent_loss = _add_losses(state, losses)
            if at_validation:
                best = _validated(method, validate, state, start, best)
            now = time.perf_counter()
            state.seconds, stopping = now - start, stop.is_set()  # asked once: what is told below was saved here
            if state_path is not None and (at_validation or stopping or now - last_saved > _SECONDS_BETWEEN_STATES):
                _save_state(state_path, method, optimizer, state, best)
                last_saved = time.perf_counter()
            speed = (state.episode - first_here) / (time.perf_counter() - start_here)
            on_progress(Progress(state.episode, recipe.train_episodes, recent_loss, speed, state.last))
            if stopping:
                break
        if stop.is_set():  # also when the wish came with the last episode: the test is not begun
            raise Interrupted(_STOPPED.format(episode=state.episode))
    method.load_state_dict(best)
    assert state.best is not None
    return TrainingResult(tuple(state.history), state.best, state.seconds, state.validation_seconds)


def _begin(method: Method, recipe: Recipe, state_path: Path | None) -> tuple[AnyOptimizer, _State, dict[str, Tensor]]:
    """Optimizer, state and best weights so far: those of the interrupted training, where there is one."""
    optimizer = optimizer_for(method, recipe)
    if state_path is not None and state_path.exists():
        try:
            return optimizer, *_load_state(state_path, method, optimizer)
        except CheckpointError as error:
            raise CheckpointError(f"{state_path} is damaged: train again with --fresh") from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:  # parts of another training, or none
            raise CheckpointError(f"{state_path} is no state of this training: train again with --fresh") from error
    share = recipe.half_size or 0
    until = share * recipe.train_episodes if share < 1 else 0
    return optimizer, _State(half_size_until=until), _weights(method)


def _images_on(device: torch.device, sampler: TrainingSampler) -> Tensor:
    images = sampler.image_set.images
    return images.to(device_for_images(images.nbytes, device))


def _prepare_step(
    optimizer: AnyOptimizer, recipe: Recipe, seed: int, episode: int, device: torch.device
) -> Callable[[Tensor], Tensor] | None:
    """Learning rate, random numbers and the (returned) augmentation of a step follow from its number alone."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(episode)
    digest = hashlib.sha256(f"training step {seed} {episode}".encode()).digest()
    number = int.from_bytes(digest[:8], "little")
    if device.type == "cpu":  # torch.manual_seed notes the stack for every other kind of device: a millisecond
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)
    changes: list[Callable[[Tensor], Tensor]] = []
    if recipe.augment is not None:
        changes.append(partial(AUGMENTATIONS[recipe.augment], seed=seed, index=episode))
    if episode < (recipe.half_size or 0) * recipe.train_episodes:
        changes.append(half_size)
    return partial(reduce, lambda images, change: change(images), changes) if changes else None


def _weights(method: Method) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}


def _add_losses(state: _State, losses: list[Tensor]) -> float:
    """Take up the losses of the last episodes; their mean."""
    total = float(torch.stack(losses).double().sum())
    if not math.isfinite(total):
        raise TrainingError(
            f"the training loss is no longer a number (between episodes {state.episode - len(losses)} and "
            f"{state.episode}): try a lower --learning-rate or --precision fp32 with --fresh"
        )
    state.loss_sum += total
    state.loss_count += len(losses)
    mean = total / len(losses)
    losses.clear()
    return mean


def _check_weights(method: Method, episode: int) -> None:
    """A last step may spoil the weights with no loss behind it to tell; such weights are neither chosen nor saved."""
    if not all(tensor.isfinite().all() for tensor in method.state_dict().values()):
        raise TrainingError(
            f"the weights are no longer numbers after training episode {episode}: "
            "try a lower --learning-rate or --precision fp32 with --fresh"
        )


def _is_validation(recipe: Recipe, state: _State) -> bool:
    """At intervals, once there were whole images (before, no weights can be chosen), and at the end."""
    can_be_chosen = state.episode > state.half_size_until
    return (can_be_chosen and state.episode % recipe.validate_every == 0) or state.episode == recipe.train_episodes


def _validated(
    method: Method,
    validate: Callable[[Method], Interval],
    state: _State,
    start: float,
    best: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Look at the validation classes; the weights that are best now."""
    _check_weights(method, state.episode)
    looked = time.perf_counter()
    interval = validate(method)
    method.train()
    state.validation_seconds += time.perf_counter() - looked
    record, loss = state.best, state.loss_sum / max(1, state.loss_count)
    seconds = time.perf_counter() - start
    state.history.append(Validation(state.episode, loss, interval.mean, interval.half_width, round(seconds, 2)))
    state.loss_sum, state.loss_count = 0.0, 0
    return _weights(method) if record is None or interval.mean > record.accuracy else best


def _save_state(path: Path, method: Method, optimizer: AnyOptimizer, state: _State, best: dict[str, Tensor]) -> None:
    _check_weights(method, state.episode)
    tensors = {f"weights.{name}": tensor for name, tensor in method.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    save_tensors(path, tensors, asdict(state))


def _load_state(path: Path, method: Method, optimizer: AnyOptimizer) -> tuple[_State, dict[str, Tensor]]:
    tensors, metadata = load_tensors(path)

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    method.load_state_dict(under("weights."))
    method.trained = True
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in under("optimizer.").items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = tensor
    kinds = [frozenset(kept) for kept in moments.values()]  # Muon keeps other moments than Adam beside it
    if under("best.").keys() != under("weights.").keys() or any(one < other for one in kinds for other in kinds):
        raise KeyError("a tensor is missing")
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    for parameter, loaded in optimizer.state.items():
        for moment, tensor in loaded.items():
            if tensor.shape == parameter.shape:  # laid out in memory as the parameter is, as in an undisturbed training
                loaded[moment] = torch.empty_like(parameter).copy_(tensor)
    history = [Validation(**validation) for validation in metadata.pop("history")]
    device = method.encoder.mean.device
    return _State(**metadata, history=history), {name: tensor.to(device) for name, tensor in under("best.").items()}


def _stop_signals() -> list[signal.Signals]:
    """A lost terminal stops a training, too, unless it was told to go on without one (nohup)."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    lost = [] if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else [hangup]
    return [signal.SIGINT, signal.SIGTERM, *lost]


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a termination signal sets, so that no step is torn; a second Ctrl-C stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was ignored, as behind nohup

    with signals_to(request, _stop_signals()):
        yield stop


@contextmanager
def signals_to(handler: Callable[[int, FrameType | None], None], numbers: Iterable[int]) -> Iterator[None]:
    """These signals go to ``handler`` within, and to whom they went before at the end."""
    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
