import pytest

from msajax import launcher, processes

SRUN = {
    **{"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[01-03]"},
    **{"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "0"},
}
MPIRUN = {
    **{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    **{"OMPI_COMM_WORLD_LOCAL_RANK": "0"},
    "OMPI_MCA_orte_hnp_uri": "28672.0;tcp://10.0.0.1:34911",
}


@pytest.fixture
def started(monkeypatch):
    """Sets the variables of a launcher, and others."""

    def start(env, **others):
        for name, value in (env | others).items():
            monkeypatch.setenv(name, value)

    return start


@pytest.mark.parametrize(
    "env,address", [(SRUN, "node01:61447"), (MPIRUN, "10.0.0.1:61447")]
)
def test_what_a_launcher_tells(started, env, address):
    started(env)
    assert launcher.is_one_of_several()
    assert launcher.rank() == 1
    assert launcher.tells_where_to_meet()
    assert launcher.meeting_place(1) == (address, 1)
    assert launcher.size_and_rank_of_mpirun() == (None if env is SRUN else (2, 1))


@pytest.mark.parametrize(
    "env,name",
    [
        *((SRUN, name) for name in SRUN if name != "SLURM_STEP_NODELIST"),
        *((MPIRUN, name) for name in MPIRUN if name != "OMPI_MCA_orte_hnp_uri"),
        (SRUN, "JAX_COORDINATOR_PORT"),
    ],
)
@pytest.mark.parametrize("text", ["abc", "-1", "2.5", "²"])
def test_a_variable_that_is_no_number(started, env, name, text):
    started(env, **{name: text})
    with pytest.raises(ValueError, match=f'variable {name} is "{text}".*unset it'):
        with processes.joined():
            pass


@pytest.mark.parametrize("given", ["localhost", "localhost:", ":80", "host:0", "h:x"])
def test_an_address_without_a_port(started, given):
    started(SRUN, JAX_COORDINATOR_ADDRESS=given)
    message = f'variable JAX_COORDINATOR_ADDRESS is "{given}"; give HOST:PORT'
    with pytest.raises(ValueError, match=message), processes.joined():
        pass


def test_a_port_that_does_not_exist(started):
    started(SRUN, JAX_COORDINATOR_PORT="99999")
    message = 'process 0 is at "node01:99999", which is no HOST:PORT'
    with pytest.raises(ValueError, match=message), processes.joined():
        pass


def test_an_address_that_mpirun_gives_in_another_form(started):
    started(MPIRUN, OMPI_MCA_orte_hnp_uri="nonsense")
    with pytest.raises(ValueError, match="give config.parallel.coordinator=HOST:PORT"):
        with processes.joined():
            pass


def test_no_launcher():
    assert not launcher.is_one_of_several()
    assert launcher.rank() == 0
