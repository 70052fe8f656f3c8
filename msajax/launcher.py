"""What srun and mpirun tell the processes that they start, through variables of their environment."""

import os

# The number of all processes. A shell that sbatch or salloc started, whose processes
# stand alone, has none of them.
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_RANKS = ("OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
# What JAX's own detection takes for numbers too.
_OTHERS = (
    *("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_LOCALID"),
    *("OMPI_COMM_WORLD_LOCAL_RANK", "JAX_COORDINATOR_PORT"),
)


def is_one_of_several() -> bool:
    """Whether a launcher started this process together with others.

    Raises:
      ValueError: a launcher's variable does not hold what launchers write there.
    """
    if not any(_number(name, 1) > 1 for name in _COUNTS):
        return False
    for name in (*_RANKS, *_OTHERS):
        _number(name, 0)
    return True


def rank() -> int:
    """The number that the launcher gives this process."""
    return next((_number(name, 0) for name in _RANKS if os.environ.get(name)), 0)


def size_and_rank_of_mpirun() -> tuple[int, int] | None:
    """The number of all processes and that of this one, where mpirun started them."""
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        return None
    return _number("OMPI_COMM_WORLD_SIZE", 1), _number("OMPI_COMM_WORLD_RANK", 0)


def tells_where_to_meet() -> bool:
    """Whether JAX can read from the launcher's variables where process 0 is."""
    # Open MPI 5 no longer has the variable that JAX reads.
    mpirun = "OMPI_COMM_WORLD_SIZE" in os.environ
    return not mpirun or "OMPI_MCA_orte_hnp_uri" in os.environ


def meeting_place(patience: int) -> tuple[str, int]:
    """Where the launcher lets the processes meet, 'host:port', and the number of this one.

    Args:
      patience: seconds that the detection may wait.

    Raises:
      ValueError: it does not tell, or what it tells is no address.
    """
    given = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if given and not is_address(given):
        raise ValueError(
            f'the variable JAX_COORDINATOR_ADDRESS is "{given}"; give HOST:PORT, the '
            "machine of process 0 and a free port there, or unset it"
        )
    try:  # JAX has no public name for what `initialize` asks
        from jax._src.clusters import ClusterEnv

        address, _, number, _ = ClusterEnv.auto_detect_unset_distributed_params(
            given, None, None, None, None, patience
        )
    except (ImportError, AttributeError, TypeError):  # of another version
        return "an address that the launcher gives", -1
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"JAX cannot read from this launcher's variables where process 0 is ({error}); "
            "give config.parallel.coordinator=HOST:PORT, the machine of process 0 and a "
            "free port there"
        ) from error
    if address is None or number is None:
        raise ValueError(
            "this launcher does not tell where process 0 is; give config.parallel."
            "coordinator=HOST:PORT, the machine of process 0 and a free port there"
        )
    if not is_address(address):
        raise ValueError(
            f'the launcher\'s variables say that process 0 is at "{address}", which is no '
            "HOST:PORT; give config.parallel.coordinator=HOST:PORT, or unset "
            "JAX_COORDINATOR_PORT where it is set"
        )
    return address, number


def is_address(text: str) -> bool:
    """Whether a text is 'host:port'."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(
            f'the variable {name} is "{text}", but srun and mpirun set it to a whole number; '
            f"start the processes by one of them, or unset it (env -u {name} msajax ...)"
        )
    return int(text)
