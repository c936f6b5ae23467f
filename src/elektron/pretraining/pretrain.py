"""`elektron pretrain`: check everything that can be checked, lock the run's folder, and train.

With `--nproc`, this process runs the checks and then starts torchrun, whose processes call `pretrain` again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch

from elektron.accelerator import Accelerator, deterministic_algorithms
from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import BlockStore
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.io.files import resolve_link
from elektron.io.folders import folder_lock
from elektron.pretraining import checkpoint
from elektron.pretraining.config import SUMMARY, PretrainConfig, resolve
from elektron.pretraining.distributed import World, check_world_size, set_local_device
from elektron.pretraining.initialization import initialize_embeddings, initialize_output_biases
from elektron.pretraining.launching import Interruption, launch, launched, terminate_when_parent_dies
from elektron.pretraining.run import RunFolder
from elektron.pretraining.setup import open_blocks, pair_for, prepare_run, with_released_sizes
from elektron.pretraining.train import Trainer
from elektron.tracking import FOLDER as TRACKING
from elektron.tracking import Tracker, require_tracker

log = logging.getLogger(__name__)


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train a generator and a discriminator, or resume the run that is in `config.out`.

    Args:
        config: the settings of the run.

    Returns:
        The content of `summary.json`: the metrics of the last evaluation, and the settings and cost of the run.

    Raises:
        ElektronError: an impossible configuration, unusable blocks, the folder of another run, or
            gradients that stay non-finite.
        SystemExit: the run was interrupted, after it has been saved.
    """
    require_tracker(config.track)
    config = resolve(with_released_sizes(config))
    keep_freed_memory()
    store = open_blocks(config)
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    torch.manual_seed(config.seed)
    curriculum, plan, words = prepare_run(config, store.manifest, tokenizer)
    pair = pair_for(config, store.manifest, tokenizer)
    if config.nproc is not None and not launched():
        check_world_size(config.nproc, curriculum.shape(0).store_rows)
        del pair  # every process has its own
        with locked_folder(config, store) as folder:
            pass  # its errors are reported once, here, before any process is started
        if not folder.finished:
            launch(config)
        return folder.read_json(SUMMARY)
    terminate_when_parent_dies()
    set_local_device()
    accelerator = Accelerator.choose(config.precision)
    world = World(accelerator.device, timedelta(seconds=config.collective_timeout))
    with world, deterministic_algorithms(accelerator.device), ExitStack() as stack:
        if not world.is_main:
            logging.getLogger("elektron").setLevel(logging.ERROR)
        with world.propagate_rank0_error():
            check_world_size(world.size, curriculum.shape(0).store_rows)
            if world.is_main:
                folder = stack.enter_context(locked_folder(config, store))
        if not world.is_main:
            folder = RunFolder.open(config, store, writes=False)
        world.barrier()
        if folder.finished:
            return folder.read_json(SUMMARY)
        accelerator = with_precision_of_run(accelerator, config, world)
        with world.propagate_rank0_error():
            # The other ranks receive rank 0's weights.
            if world.is_main and not checkpoint.checkpoints(config.out):
                if config.init_from is not None:
                    initialize_output_biases(pair, store)
                elif config.network.embedding_init == "cooccurrence":
                    initialize_embeddings(pair, store, config.seed)
        trainer = Trainer(config, store, tokenizer, pair, folder, accelerator, world, plan, words)
        if config.track is not None and world.is_main:
            path, step = folder.path, trainer.progress.step
            tracker = Tracker(config.track, path / TRACKING, path.resolve().name, config, step)
            trainer.metrics_logger.tracker = stack.enter_context(closing(tracker))
        # Also after an error, close the writer, which waits for its checkpoint: another session may resume at once.
        with closing(trainer.writer), Interruption() as interruption:
            return trainer.train(interruption)


def with_precision_of_run(accelerator: Accelerator, config: PretrainConfig, world: World) -> Accelerator:
    """The device with the precision that all ranks and all sessions of the run use.

    If it is not configured, it is that of the run's checkpoints from the same kind of device, else rank 0's choice.
    """
    is_bf16 = accelerator.dtype == torch.bfloat16
    if config.precision is None:
        for path in checkpoint.checkpoints(config.out):
            with suppress(ElektronError, ValueError):  # loading reports damage
                kind, precision, _ = checkpoint.read_progress(path).device.rsplit(", ", 2)
                if kind == accelerator.kind:
                    is_bf16 = precision == "bfloat16"
    is_bf16 = bool(world.broadcast_scalar(float(is_bf16)))
    return replace(accelerator, dtype=torch.bfloat16 if is_bf16 else torch.float32)


@contextmanager
def locked_folder(config: PretrainConfig, store: BlockStore) -> Iterator[RunFolder]:
    """The run's folder, created if it is new, and locked against other processes inside the block."""
    folder = RunFolder(config.out)
    if folder.compare(config, store) == "" and folder.finished:
        log.info("%s is finished: its models are in discriminator/ and generator/", folder.path)
        yield folder  # nothing will be written
        return
    with folder_lock(resolve_link(config.out), config.out):
        yield RunFolder.open(config, store)
