"""What a launch refuses, and the files that it takes along."""

import shutil
import signal
import subprocess
import sys

import pytest

from tests.tpu.cloud import SMALL, START
from tests.waiting import until


class TestMistakes:
    """Each message says what to run next, and nothing is left that costs."""

    def refused(self, run, cloud, *words: str, options: tuple[str, ...] = ("--type", "v5e-8")) -> str:
        _, err = run(*START, *options, code=2)
        for word in words:
            assert word in err, err
        assert not cloud.nodes()
        return err

    def test_no_gcloud(self, cloud, run, monkeypatch):
        git = shutil.which("git")
        (cloud.root / "only").mkdir()
        (cloud.root / "only/git").symlink_to(git)
        monkeypatch.setenv("PATH", str(cloud.root / "only"))
        self.refused(run, cloud, "not found on the PATH", "gcloud init")

    def test_not_logged_in(self, cloud, run):
        (cloud.root / "account").write_text("")
        self.refused(run, cloud, "not logged in", "gcloud auth login")

    def test_no_project(self, cloud, run):
        (cloud.root / "project").write_text("(unset)")
        self.refused(run, cloud, "gcloud config set project")

    @pytest.mark.parametrize(
        "said, advice",
        [
            (
                "RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProjectPerZone' has been exceeded.",
                "the quota is used up",
            ),
            ('RESOURCE_EXHAUSTED: There is no more capacity in the zone "us-west4-a"', "--queued"),
            ("PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", "roles/tpu.admin"),
            (
                "PERMISSION_DENIED: Cloud TPU API has not been used in project p before (SERVICE_DISABLED)",
                "services enable",
            ),
            ("Reauthentication failed. Please run: $ gcloud auth login", "not logged in"),
        ],
    )
    def test_what_google_refuses(self, cloud, run, said, advice):
        cloud.refuse(("tpu-vm create", said))
        self.refused(run, cloud, said, advice)

    def test_name_taken(self, cloud, run):
        run(*START, "--type", "v5e-8")
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "launched before" in err and "resume mine" in err and cloud.nodes() == {"mine-trainer"}
        assert len(cloud.commands("tpu-vm create")) == 1

    def test_name_taken_by_somebody_else(self, cloud, run):
        cloud.write("nodes/mine-trainer.json", {"state": "READY", "networkEndpoints": []})
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "--on-existing mine-trainer" in err and cloud.nodes() == {"mine-trainer"}

    def test_a_zone_without_the_type(self, cloud, run):
        self.refused(run, cloud, "us-west4-a has none; it has v4-16, v5lite", options=("--type", "v6e-8"))

    def test_no_such_type(self, cloud, run):
        self.refused(run, cloud, "such as v5", "accelerator-types list", options=("--type", "v5x-8"))

    def test_no_such_bucket(self, cloud, run):
        shutil.rmtree(cloud.root / "buckets/mine-b")
        self.refused(run, cloud, "gcloud storage buckets create gs://mine-b --location=us-west4")

    def test_a_bucket_elsewhere_is_warned_of(self, cloud, run):
        cloud.object(".location").write_text("EUROPE-WEST4")
        _, err = run(*START, "--type", "v5e-8")
        assert "europe-west4" in err and "costs money" in err and cloud.nodes()

    def test_an_uncommitted_tree(self, cloud, run, tree):
        (tree / "experiments/small.py").write_text(SMALL.replace("Config()", "Config(seed=1)"))
        (tree / "new.py").write_text("")
        self.refused(run, cloud, "uncommitted", "experiments/small.py", "new.py", "git commit", "--allow-dirty")
        run(*START, "--type", "v5e-8", "--allow-dirty")
        sent = cloud.root / "homes/mine-trainer/0/realm/mine-trainer/source"
        assert "seed=1" in (sent / "experiments/small.py").read_text() and (sent / "new.py").exists()
        assert list(cloud.object("mine/launch").glob("*-dirty.tar.gz"))

    def test_a_link_is_sent_as_it_is(self, cloud, run, tree):
        """As that by which the package finds the experiments that are shipped with it."""
        (tree / "linked").symlink_to("experiments")
        run(*START, "--type", "v5e-8", "--allow-dirty")
        sent = cloud.root / "homes/mine-trainer/0/realm/mine-trainer/source"
        assert (sent / "linked").is_symlink() and (sent / "linked/small.py").exists()

    @pytest.mark.parametrize(
        "options, words",
        [
            (("--name", "Mine"), "lower-case"),
            (("--name", "größe"), "lower-case"),
            (("--zone", "us-west4"), "must be such as us-west4-a"),
            (("--bucket", "b"), "gs://BUCKET"),
            (("--max-hours", "0"), "--max-hours 0"),
            (("--on-existing", "x"), "give one of the two"),
            (("--", "--workdir", "x"), "the launcher sets it"),
        ],
    )
    def test_options_that_make_no_sense(self, cloud, run, options, words):
        self.refused(run, cloud, words, options=("--type", "v5e-8", *options))

    def test_an_experiment_that_is_not_sent(self, cloud, run, tmp_path):
        (tmp_path / "x.py").write_text(SMALL)
        for path, words in ((tmp_path / "x.py", "copy it"), (tmp_path / "y.py", "no such experiment")):
            _, err = run(str(path), *START[1:], "--type", "v5e-8", code=2)
            assert words in err

    def test_a_worker_that_cannot_be_set_up_takes_all_slices_with_it(self, cloud, run):
        """The builder's slice is the second one: the trainer's job was started already."""
        cloud.refuse(("ssh mine-builder", "disk is full"))
        words = ("disk is full", "mine-trainer: deleted again", "mine-builder: deleted again")
        self.refused(run, cloud, *words, options=("--type", "v5e-16", "--builder-type", "v5e-8"))

    def test_a_slice_that_cannot_be_deleted_is_named(self, cloud, run):
        cloud.refuse(("tpu-vm ssh", "no key"), ("tpu-vm delete", "no way"))
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "mine-trainer: COULD NOT BE DELETED" in err
        assert "run `gcloud compute tpus tpu-vm delete mine-trainer --zone=us-west4-a --quiet" in err

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
    def test_a_launcher_that_is_ended_in_the_queue_leaves_nothing(self, cloud, project, number):
        """No worker runs yet that would delete the slice."""
        cloud.write("queue_states.json", ["WAITING_FOR_RESOURCES"])
        words = ["experiments/factbook.py", *START[1:], "--type", "v5e-8", "--queued"]
        # Else the launcher leaves alone what nohup ignores, if that is how the tests were started.
        heard = ["env", f"--default-signal={number.name.removeprefix('SIG')}"]
        launcher = subprocess.Popen([*heard, sys.executable, "-m", "tpu.launch", *words], cwd=project)
        try:
            until(lambda: cloud.commands("queued-resources describe"))
            launcher.send_signal(number)
            assert launcher.wait(60) == 130 and not cloud.nodes()
        finally:
            launcher.kill()

    def test_a_request_that_fails_in_the_queue(self, cloud, run):
        cloud.write("queue_states.json", ["WAITING_FOR_RESOURCES", "FAILED"])
        self.refused(
            run,
            cloud,
            "FAILED before it was ready",
            "queued-resources describe",
            options=("--type", "v5e-8", "--queued"),
        )


class TestInputs:
    """An experiment that reads files is launched where the slices will have them."""

    OPTIONS = ("--type", "v5e-8", "--allow-dirty", "--dry-run")
    OWN = ("--on-existing", "mine", "--allow-dirty", "--dry-run")

    @pytest.fixture(autouse=True)
    def files(self, tree, cloud):
        for name in ("dumps/enwiki/a.bz2", "questions/train.jsonl"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).touch()
        (tree / ".gitignore").write_text("runs/\n")
        (tree / "runs").mkdir()
        (tree / "runs/dev.jsonl").touch()

    @pytest.mark.parametrize(
        "options",
        [
            ("--data.path", "dumps/enwiki", "--seed", "1"),
            ("--data.path=./dumps/enwiki/",),
            ("--data.path", "excerpt", "--model.weights", "random"),
            ("--questions.train", "questions/train.jsonl", "dumps/enwiki:train"),
        ],
    )
    def test_what_is_sent(self, run, options):
        run(*START, *self.OPTIONS, "--", *options)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--data.path", "dumps/simplewiki"), "data.path: 'dumps/simplewiki'"),
            (("--model.weights=/weights/bert",), "model.weights: '/weights/bert'"),
            (("--data.text-path", "gs://mine-b/text"), "data.text_path: 'gs://mine-b/text'"),
            (("--questions.train", "questions/train.jsonl", "no:train", "--seed", "1"), "questions.train: 'no:train'"),
            (("--questions.dev", "runs/dev.jsonl"), "questions.dev: 'runs/dev.jsonl'"),  # git ignores it
        ],
    )
    def test_what_is_not_is_refused_before_anything_is_asked_of_google(self, cloud, run, options, named):
        _, err = run(*START, *self.OPTIONS[:3], "--", *options, code=2)
        assert f"{named} is not in the source" in err and "--on-existing" in err and not cloud.commands()

    def test_what_the_experiment_and_its_neighbours_name(self, tree, run):
        (tree / "experiments/base.py").write_text(SMALL.replace("Config()", "Config(model=Model(weights='w/bert'))"))
        (tree / "experiments/small.py").write_text("import base\nget_config = base.get_config\n")
        _, err = run(*START, *self.OPTIONS, code=2)
        assert "model.weights: 'w/bert' is not in the source" in err
        run(*START, *self.OPTIONS, "--", "--model.weights", "minilm")

    def test_a_tpu_of_ones_own_may_have_files(self, run):
        run(*START, *self.OWN, "--", "--data.path", "/data/enwiki")
        _, err = run(*START, *self.OWN, "--", "--data.path", "data/enwiki", code=2)
        assert "data.path: 'data/enwiki' is not in the source" in err
        _, err = run(*START, *self.OWN, "--builder-type", "v5e-8", "--", "--data.path", "/data/enwiki", code=2)
        assert "data.path: '/data/enwiki' is not in the source" in err  # the builder's slice is not one's own

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def get_sweep(): ...\n", "small.py: no function get_config(), but get_sweep()"),
            ("def get_config(): ...\n", "get_config() gave a NoneType; it must return realm_jax.config.Config"),
            (SMALL.replace("Config()", "Config(seed=-1)"), "small.py:4: seed: -1 is out of range"),
            ("def get_config(:\n", "small.py:1: syntax error: "),
        ],
    )
    def test_an_experiment_that_does_not_run(self, cloud, tree, run, text, message):
        (tree / "experiments/small.py").write_text(text)
        _, err = run(*START, *self.OPTIONS[:3], code=2)
        assert message in err and not cloud.commands()

    def test_an_experiment_that_this_machine_cannot_load(self, tree, run):
        (tree / "experiments/small.py").write_text("import not_installed_here\n" + SMALL)
        _, err = run(*START, *self.OPTIONS, "--", "--data.path", "nowhere")
        assert "warning: experiments/small.py: whether its files are sent is not known (No module named" in err
