"""Bad input: one sentence that names the value and the remedy, exit status 2, and nothing lost."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, call, shell
from torchvision.datasets import MNIST

from mlp.checkpoint import save_checkpoint
from mlp.model import MLP, initial_model

TRAINING = "train.py"
ABLATION = "are_modules_indegree_nobetween.py"
CLUSTERING = "are_modules_clusterable.py"
SPECIALIZATION = "are_modules_specialized.py"
SIMILARITY = "are_modules_upstream_downstream.py"
RECOVERY = "are_modules_recovered.py"
ANALYSES = ["network_analysis.py", ABLATION, CLUSTERING, SPECIALIZATION, SIMILARITY, RECOVERY]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sentence_of(done):
    """What a script said that refused its input, which is one sentence that begins with the name of the script."""
    script = Path(done.args[0]).name
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"{script}: ")
    return done.stderr


@pytest.fixture
def refusal(tmp_path):
    """Runs a script on bad input and returns the sentence it prints."""

    def refused(script, *arguments):
        before = contents(tmp_path)
        sentence = sentence_of(call(script, *arguments))
        assert contents(tmp_path) == before
        return sentence

    return refused


BAD_OPTIONS = [
    ("--hidden-layers", "", "layer"),
    ("--hidden-layers", "0", "'0'"),
    ("--hidden-layers", "8,-8", "'-8'"),
    ("--hidden-layers", "-8,8", "'-8'"),
    ("--hidden-layers", "8,,8", "''"),
    ("--hidden-layers", "8,eight", "'eight'"),
    ("--hidden-layers", "8.5", "'8.5'"),
    ("--classes", "3", "two or more"),
    ("--digits", "3", "two or more"),
    ("--classes", "3,3,5", "repeats"),
    ("--classes", "3,5,12", "'12'"),
    ("--classes", "-1,5", "'-1'"),
    ("--classes", "three,5", "'three'"),
    ("--classes", "", "0 to 9"),
    ("--epochs", "0", "at least 1"),
    ("--epochs", "-3", "'-3'"),
    ("--epochs", "2.5", "'2.5'"),
    ("--batch-size", "0", "at least 1"),
    ("--lr", "0", "above 0"),
    ("--lr", "-0.1", "'-0.1'"),
    ("--lr", "-1e-3", "'-1e-3'"),
    ("--lr", "nan", "'nan'"),
    ("--lr", "inf", "'inf'"),
    ("--lr", "fast", "'fast'"),
    ("--val-fraction", "-0.1", "from 0 to below 1"),
    ("--val-fraction", "1", "from 0 to below 1"),
    ("--classes", "5-3", "backwards"),
    ("--classes", "0-5,3", "repeats"),
    ("--classes", "0-12", "'0-12'"),
    ("--classes", "0-", "'0-'"),
    ("--classes", "4-4", "two or more"),
    ("--dropout", "1", "from 0 to below 1"),
    ("--dropout", "-0.5", "'-0.5'"),
    ("--dropout", "0,0.5,0", "repeats"),
    ("--dropout", "0,,0.5", "''"),
    ("--lr", "0.1,0", "'0'"),
    ("--lr-decay", "0.25", "0.25,3"),
    ("--lr-decay", "0.25,3,1", "0.25,3"),
    ("--lr-decay", "1,3", "between 0 and 1"),
    ("--lr-decay", "0.5,-1", "'-1'"),
    ("--lr-decay", "slow,3", "'slow'"),
    ("--early-stopping", "0", "at least 1"),
    ("--l1", "-1", "at least 0"),
    ("--l2", "inf", "'inf'"),
    ("--adam-epsilon", "0", "above 0"),
    ("--init", "zeros", "glorot"),
    ("--pruning", "0.9", "0.5,0.9"),
    ("--pruning", "0.5,0.7,0.9", "0.5,0.9"),
    ("--pruning", "0.9,0.5", "begins above its end"),
    ("--pruning", "0.5,1", "'1'"),
    ("--pruning", "-0.5,0.5", "'-0.5'"),
    ("--pruning", "half,0.9", "'half'"),
    ("--pruning-epochs", "0", "at least 1"),
    ("--recipe", "cake", "'lange'"),
    ("--seed", "-1", "'-1'"),
    ("--seed", "1" * 30, "1111"),
    ("--seed", str(2**32), "from 0 to 4294967295"),
    ("--device", "tpu", "cpu or cuda"),
    ("--networks", "0", "at least 1"),
    ("--networks", "many", "'many'"),
    ("--networks", "100000000000", "fewer networks"),
]


@pytest.mark.parametrize("option, value, sentence", BAD_OPTIONS)
def test_training_options(refusal, option, value, sentence):
    message = refusal(TRAINING, option, value)
    assert option in message
    assert sentence in message


def test_networks_larger_than_memory(refusal):
    message = refusal(TRAINING, "--hidden-layers", "99999999,99999999")
    assert "--networks 1 --hidden-layers 99999999,99999999: " in message
    assert "smaller ones" in message


@pytest.mark.parametrize("option, value", [("--early-stopping", "6"), ("--lr-decay", "0.5,3")])
def test_nothing_to_stop_by(refusal, option, value):
    message = refusal(TRAINING, option, value, "--val-fraction", "0")
    assert option in message
    assert "--val-fraction above 0" in message


@pytest.mark.parametrize("script", ["network_analysis.py", ABLATION])
@pytest.mark.parametrize("option", ["--in-degree-quantile", "--betweenness-quantile"])
@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "half"])
def test_quantiles(refusal, script, option, value):
    message = refusal(script, option, value)
    assert option in message
    assert f"'{value}'" in message
    assert "from 0 to 1" in message


@pytest.mark.parametrize(
    "option, value",
    [
        ("--max-candidates", "0"),
        ("--top-inputs", "-1"),
        ("--top-inputs", "few"),
        ("--null-limit", "0"),
        ("--null-limit", "999999999999"),
        ("--seed", "-1"),
        ("--seed", "4294967296"),
        ("--network", "-1"),
    ],
)
def test_counts(refusal, option, value):
    assert f"'{value}'" in refusal(ABLATION, option, value)


@pytest.mark.parametrize(
    "option, value",
    [
        ("--clusters", "1"),
        ("--clusters", "twelve"),
        ("--shuffles", "1"),
        ("--draws", "1"),
        ("--shuffles", "999999999999"),
        ("--draws", "999999999999"),
        ("--pair-draws", "0"),
        ("--pair-draws", "999999999999"),
        ("--seed", "-1"),
        ("--seed", "4294967296"),
    ],
)
def test_counts_of_clusters(refusal, option, value):
    assert f"'{value}'" in refusal(CLUSTERING, option, value)


def test_networks_that_cannot_be_clustered(refusal, tmp_path):
    model = initial_model((784, 4, 3), 0)
    places = ["--digits", "3,5,7", "--figures-dir", tmp_path]
    torch.save(model.state_dict(), tmp_path / "network.pt")
    message = refusal(CLUSTERING, tmp_path / "network.pt", "--clusters", "792", *places)
    assert "--clusters 792: only 791 neurons" in message
    assert "choose from 2 to 791" in message
    message = refusal(CLUSTERING, tmp_path / "network.pt", "--without-pixels", *places)
    assert "--clusters 12: only 7 neurons" in message
    with torch.no_grad():
        for weight in model.weights:
            weight.zero_()
    torch.save(model.state_dict(), tmp_path / "network.pt")
    assert "no edges left" in refusal(CLUSTERING, tmp_path / "network.pt", *places)


@pytest.mark.parametrize(
    "option, value",
    [("--clusters", "1"), ("--draws", "1"), ("--draws", "999999999999"), ("--seed", "x"), ("--seed", "4294967296")],
)
def test_counts_of_parts(refusal, option, value):
    assert f"'{value}'" in refusal(SPECIALIZATION, option, value)


def test_more_clusters_than_neurons(refusal, tmp_path):
    save_checkpoint(tmp_path / "network.pt", initial_model((784, 4, 3, 3), 0), classes=(3, 5, 7))
    message = refusal(SPECIALIZATION, tmp_path / "network.pt", "--clusters", "8", "--figures-dir", tmp_path)
    assert "--clusters 8: the networks of network have 7 hidden neurons; choose from 2 to 7" in message


@pytest.mark.parametrize(
    "option, value",
    [
        ("--untrained", "1"),
        ("--restarts", "0"),
        ("--restarts", "999999999999"),
        ("--untrained", "999999999999"),
        ("--seed", "4294967296"),
        ("--least-accuracy", "1.1"),
        ("--least-accuracy", "x"),
        ("--seed", "-1"),
    ],
)
def test_counts_of_networks(refusal, option, value):
    assert f"'{value}'" in refusal(SIMILARITY, option, value)


def test_networks_that_cannot_be_compared(refusal, tmp_path):
    places = ["--figures-dir", tmp_path]
    save_checkpoint(tmp_path / "a.pt", initial_model((784, 4, 3), 0), classes=(3, 5, 7))
    done = call(SIMILARITY, tmp_path / "a.pt", "--least-accuracy", "0.99", *places)
    assert done.returncode == 2
    assert "--least-accuracy 0.99: no network reads more than" in done.stderr.splitlines()[-1]
    for sizes, about in (
        ((784, 5, 3), {"classes": (3, 5, 7)}),
        ((784, 4, 3), {"classes": (3, 5, 8)}),
        ((784, 4, 3), {"classes": (3, 5, 7), "init": "glorot"}),
    ):
        save_checkpoint(tmp_path / "b.pt", initial_model(sizes, 1), **about)
        message = refusal(SIMILARITY, tmp_path / "a.pt", tmp_path / "b.pt", *places)
        assert "a and b differ in their" in message
        assert "runs of their own" in message


@pytest.mark.parametrize("script", ANALYSES[2:])
def test_the_same_network_twice(refusal, script, tmp_path):
    models = [initial_model((784, 20, 3), seed) for seed in (0, 1)]
    save_checkpoint(tmp_path / "a.pt", models[0], classes=(3, 5, 7))
    save_checkpoint(tmp_path / "b.pt", models, classes=(3, 5, 7))
    places = ["--figures-dir", tmp_path]
    message = refusal(script, tmp_path / "a.pt", tmp_path / "a.pt", tmp_path / "a.pt", *places)
    assert "name each network once" in message
    message = refusal(script, tmp_path / "a.pt", tmp_path / "b.pt", *places)
    assert "a, network 0 and b, network 0 are the same and would count twice" in message


def test_the_same_network_twice_in_a_checkpoint(refusal, tmp_path):
    save_checkpoint(tmp_path / "a.pt", [initial_model((784, 4, 3), 0)] * 2, classes=(3, 5, 7))
    message = refusal(ABLATION, tmp_path / "a.pt", "--figures-dir", tmp_path)
    assert "a, network 0 and a, network 1 are the same and would count twice" in message


@pytest.mark.parametrize("script", ANALYSES[1:])
@pytest.mark.parametrize(
    "networks", [3, [], ["dropout"], {}, [{"seed": 1e300}], [{"seed": -1}], [{"seed": "0"}], [{"seed": 10**400}]]
)
def test_damaged_hyperparameters(refusal, script, networks, tmp_path):
    model = initial_model((784, 20, 3), 0)
    save_checkpoint(tmp_path / "network.pt", model, classes=(3, 5, 7), networks=networks)
    assert "train them again" in refusal(script, tmp_path / "network.pt", "--figures-dir", tmp_path)
    save_checkpoint(tmp_path / "network.pt", model, classes=(3, 5, 7), init=["glorot"])
    assert "train them again" in refusal(script, tmp_path / "network.pt", "--figures-dir", tmp_path)


@pytest.mark.parametrize("leak", [10**400, -1, 1.5, True, "much", None, [0.1]])
def test_a_damaged_leak(refusal, leak, tmp_path):
    networks = [{"groups": [0] * 10 + [1] * 10, "leak": leak}]
    save_checkpoint(tmp_path / "network.pt", initial_model((784, 20, 3), 0), classes=(3, 5, 7), networks=networks)
    assert "train them again" in refusal(RECOVERY, tmp_path / "network.pt", "--figures-dir", tmp_path)


def test_networks_too_small_to_be_asked(refusal, tmp_path):
    save_checkpoint(tmp_path / "network.pt", initial_model((784, 6, 6, 3), 0), classes=(3, 5, 7))
    places = [tmp_path / "network.pt", "--figures-dir", tmp_path]
    assert "--clusters 16: the networks of network have 12 hidden neurons" in refusal(RECOVERY, *places)
    message = refusal(RECOVERY, *places, "--clusters", "2", "--power", "specialization")
    assert "--power specialization: the networks of network have too few neurons for 16 clusters; leave" in message
    soft = initial_model((784, 4, 4, 10), 0)
    about = {"classes": list(range(10)), "init": "clusterable", "networks": [{"groups": list(range(8))}]}
    save_checkpoint(tmp_path / "network.pt", soft, **about)
    message = refusal(RECOVERY, *places, "--clusters", "2")
    assert "the networks of network have 8 hidden neurons, fewer than planted groups" in message


@pytest.mark.parametrize(
    "option, value",
    [("--power", "all"), ("--definitions", "weights,wires"), ("--clusters", "2,2"), ("--clusters", "1")],
)
def test_names_and_numbers_that_do_not_exist(refusal, option, value):
    assert value.split(",")[-1] in refusal(RECOVERY, option, value)


@pytest.mark.parametrize("script", [TRAINING, *ANALYSES[1:]])
def test_cuda_that_is_not_there(refusal, script, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "choose auto or cpu" in refusal(script, "--device", "cuda")


@pytest.mark.parametrize("script", [TRAINING, *ANALYSES[1:]])
@pytest.mark.parametrize("jobs", ["0", "-1", "1025", "999999999999", "two", "1.5", ""])
def test_jobs(refusal, script, jobs):
    message = refusal(script, "--jobs", jobs)
    assert f"argument --jobs: '{jobs}' is no whole number from 1 to 1024" in message


def test_an_unknown_engine(refusal):
    assert "'fast'" in refusal("network_analysis.py", "--engine", "fast")


@pytest.mark.parametrize("script", [TRAINING, *ANALYSES, "benchmark.py"])
def test_an_option_that_does_not_exist(refusal, script):
    assert "--frobnicate" in refusal(script, "--frobnicate")


@pytest.mark.parametrize("script", ANALYSES)
class TestCheckpoints:
    def test_missing(self, refusal, script, tmp_path):
        message = refusal(script, tmp_path / "absent.pt")
        assert "absent.pt" in message
        assert "python train.py" in message

    def test_truncated(self, refusal, script, tmp_path):
        save_checkpoint(tmp_path / "network.pt", initial_model((784, 4, 3), 0), classes=(3, 5, 7))
        content = (tmp_path / "network.pt").read_bytes()
        (tmp_path / "network.pt").write_bytes(content[: len(content) // 2])
        assert "damaged" in refusal(script, tmp_path / "network.pt")

    def test_trained_on_other_classes(self, refusal, script, tmp_path):
        save_checkpoint(tmp_path / "network.pt", initial_model((784, 4, 3), 0), classes=(3, 5, 7))
        message = refusal(script, tmp_path / "network.pt", "--classes", "1,2,3")
        assert "1,2,3" in message
        assert "3,5,7" in message

    def test_more_outputs_than_classes(self, refusal, script, tmp_path):
        torch.save(initial_model((784, 20, 10), 0).state_dict(), tmp_path / "network.pt")
        places = tmp_path / "network.pt", "--figures-dir", tmp_path
        if script not in ("network_analysis.py", CLUSTERING):  # which need no images, and so no classes
            assert "what its 10 outputs stand for" in refusal(script, *places)
        assert "10 outputs" in refusal(script, *places, "--classes", "1,2")

    @pytest.mark.parametrize("options", [[], ["--classes", "0,1"], ["--classes", "1"], ["--dataset", "fashion"]])
    def test_one_output(self, refusal, script, tmp_path, options):
        """One sentence, and no remedy that leads to another."""
        torch.save([MLP((784, 4, 1)).state_dict()], tmp_path / "network.pt")
        message = refusal(script, tmp_path / "network.pt", *options, "--figures-dir", tmp_path)
        assert "network.pt: networks of one output are not understood; save it with two, 0 and its own" in message

    def test_a_single_class_of_several_outputs(self, refusal, script, tmp_path):
        torch.save(initial_model((784, 4, 3), 0).state_dict(), tmp_path / "network.pt")
        wanted = "argument --classes/--digits: '3' is a single class; name two or more, as in 3,5,7"
        places = "--figures-dir", tmp_path
        assert wanted in refusal(script, tmp_path / "network.pt", "--classes", "3", *places)
        assert wanted in refusal(script, "--classes", "3", *places)

    @pytest.mark.parametrize("classes", [3, "three", [3, 5, 12], [3, 3, 5], None, {}])
    def test_impossible_classes(self, refusal, script, tmp_path, classes):
        save_checkpoint(tmp_path / "network.pt", initial_model((784, 4, 3), 0), classes=classes)
        assert "train it again" in refusal(script, tmp_path / "network.pt", "--figures-dir", tmp_path)

    @pytest.mark.parametrize("name", ["letters", "", "MNIST", 3, ["mnist"], {"mnist": 10}])
    def test_an_unknown_data_set(self, refusal, script, tmp_path, name):
        save_checkpoint(tmp_path / "network.pt", initial_model((784, 4, 3), 0), classes=(3, 5, 7), dataset=name)
        message = refusal(script, tmp_path / "network.pt", "--figures-dir", tmp_path)
        assert f"network.pt: was trained on the data set {name!r}, which is unknown here; known: mnist" in message

    def test_different_shapes(self, refusal, script, tmp_path):
        models = [initial_model((784, width, 2), 0) for width in (3, 4)]
        save_checkpoint(tmp_path / "network.pt", models, classes=(3, 5))
        assert "different shapes" in refusal(script, tmp_path / "network.pt")

    def test_no_such_network(self, refusal, script, tmp_path):
        save_checkpoint(tmp_path / "network.pt", [initial_model((784, 3, 2), seed) for seed in (0, 1)], classes=(3, 5))
        assert "choose from 0 to 1" in refusal(script, tmp_path / "network.pt", "--network", "2")

    def test_not_finite(self, refusal, script, tmp_path):
        model = initial_model((784, 4, 3), 0)
        with torch.no_grad():
            model.weights[1][0, 0] = float("nan")
        save_checkpoint(tmp_path / "network.pt", model, classes=(3, 5, 7))
        assert "NaN" in refusal(script, tmp_path / "network.pt")

    def test_shapes_without_numbers(self, refusal, script, tmp_path):
        with torch.device("meta"):
            model = MLP((784, 4, 3))
        torch.save(model.state_dict(), tmp_path / "network.pt")
        assert "no numbers" in refusal(script, tmp_path / "network.pt")

    def test_unwritable_figures(self, refusal, script, tmp_path):
        save_checkpoint(tmp_path / "network.pt", initial_model((784, 20, 3), 0), classes=(3, 5, 7))
        (tmp_path / "file").touch()
        message = refusal(script, tmp_path / "network.pt", "--figures-dir", tmp_path / "file" / "figures")
        assert "choose another" in message


@pytest.mark.parametrize(
    "script, options",
    [
        (ABLATION, ""),
        (ABLATION, "--ablate-to mean"),
        (CLUSTERING, "--clusters 3 --shuffles 2 --lesions"),
        (SPECIALIZATION, ""),
        (SIMILARITY, ""),
        (RECOVERY, ""),
    ],
)
@pytest.mark.parametrize(
    "inputs, dataset, sentence",
    [
        (784, None, "does not say on which images it was trained; name them with --dataset, as in --dataset mnist"),
        (100, "mnist", "reads images of 100 and those of mnist are 1 x 28 x 28; leave the data set out, because none"),
    ],
    ids=["of nobody knows what", "of another size"],
)
def test_images_that_are_not_those_of_the_network(refusal, script, options, inputs, dataset, sentence, tmp_path):
    model = initial_model((inputs, 20, 3), 0)
    save_checkpoint(tmp_path / "network.pt", model, classes=(0, 1, 2), dataset=dataset)
    places = [tmp_path / "network.pt", "--figures-dir", tmp_path]
    assert sentence in refusal(script, *places, *options.split(), "--jobs", "1")


@pytest.mark.parametrize("option", ["--save-dir", "--figures-dir"])
def test_unwritable_folders(refusal, option, tmp_path):
    (tmp_path / "file").touch()
    places = {"--save-dir": tmp_path, "--figures-dir": tmp_path} | {option: tmp_path / "file" / "folder"}
    assert "choose another" in refusal(TRAINING, *(word for pair in places.items() for word in pair))


def test_damaged_data(refusal, tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # no network
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (REPOSITORY / "data" / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(file, raw)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    places = ["--save-dir", tmp_path, "--figures-dir", tmp_path]
    assert "train-" in refusal(TRAINING, *places, "--data-dir", tmp_path / "data")
    assert "--data-dir" in refusal(TRAINING, *places, "--data-dir", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "options", ["", "--networks 2 --hidden-layers 201 --jobs 1", "--networks 2 --hidden-layers 201 --jobs 2"]
)
def test_training_that_diverges(tmp_path, options):
    """In this process, in the first of two tasks, and in a worker."""
    (tmp_path / "mlp_mnist35.pt").write_bytes(b"trained before")
    places = ["--save-dir", tmp_path, "--figures-dir", tmp_path]
    done = call(TRAINING, "--lr", "1e30", "--digits", "3,5", *options.split(), *places)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("train.py: --lr 1e+30: the loss is not finite")
    assert "Traceback" not in done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"trained before"]


@pytest.mark.parametrize(
    "script, options, sentence",
    [
        (TRAINING, ["--hidden-layers", "-8,8"], "'-8' is no whole number of at least 1"),
        (TRAINING, ["--networks", "100000000000"], "train fewer networks"),
        (SPECIALIZATION, ["absent.pt"], "absent.pt: no such checkpoint; train one with: python train.py"),
    ],
)
def test_a_process_ends_with_one_sentence(workshop, tmp_path, script, options, sentence):
    done = shell(workshop / script, *options, cwd=tmp_path)
    done.args = done.args[1:]  # without the interpreter
    assert sentence in sentence_of(done)
    assert not list(tmp_path.iterdir())
