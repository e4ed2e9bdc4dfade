# make                 set up and reproduce the first figures of the README
# make test            set up and run the tests, but for the long reproductions
# make test-all        all tests, the long reproductions too
# make test-oldest     the tests with the oldest packages that requirements.txt allows, on Python 3.10 to 3.12
# make evidence        the experiment over 100 networks: does it survive a control?
# make clusterability  are the weights made of clusters?  trains and analyses the networks of Filan et al.
# make specialization  are clusters of neurons specialised?  trains and analyses the networks of Casper et al.
# make similarity      do neurons see alike, or act alike?  trains and analyses the networks of Lange et al.
# make recovery        do these methods find modules that are known to be there?  plants some, and looks
# make agreement       do the definitions agree on networks of `make similarity`, which must be there?
# make benchmark       how fast all this is, side by side with the obvious ways

PYTHON ?= python3
BIN = .venv/bin
OLDEST = .venv-oldest/bin

.PHONY: figures centralities ablation test test-long test-all test-oldest
.PHONY: evidence clusterability specialization similarity recovery agreement benchmark clean

figures: .venv/installed
	$(BIN)/python train.py
	@$(MAKE) --no-print-directory --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) centralities ablation

centralities:
	$(BIN)/python network_analysis.py

ablation:
	$(BIN)/python are_modules_indegree_nobetween.py

test: .venv/installed-tests
	$(BIN)/python -m pytest

test-long: .venv/installed-tests
	$(BIN)/python -m pytest -m long

test-all: test test-long

test-oldest: .venv-oldest/installed
	$(OLDEST)/python -m pytest

evidence: .venv/installed
	$(BIN)/python train.py --networks 100 --save-dir mlp/100_networks --figures-dir figures/100_networks
	$(BIN)/python are_modules_indegree_nobetween.py mlp/100_networks/mlp_mnist357.pt --figures-dir figures/100_networks

FILAN = $(foreach net,filan_dropout filan,mlp/$(net)/mlp_mnist0123456789$(1).pt)

clusterability: .venv/installed
	$(BIN)/python train.py --recipe filan --networks 5 --separate-batches --save-dir mlp/filan_dropout --figures-dir figures/filan_dropout
	$(BIN)/python train.py --recipe filan --dropout 0 --networks 5 --separate-batches --save-dir mlp/filan --figures-dir figures/filan
	$(BIN)/python are_modules_clusterable.py $(call FILAN) $(call FILAN,_unpruned) --lesions --figures-dir figures/clusterability
	$(BIN)/python are_modules_clusterable.py $(call FILAN) $(call FILAN,_unpruned) --clusters 4 --figures-dir figures/clusterability_4

CASPER = mlp/casper/mlp_mnist0123456789

specialization: .venv/installed
	$(BIN)/python train.py --recipe casper --networks 3 --separate-batches --save-dir mlp/casper --figures-dir figures/casper
	$(BIN)/python are_modules_specialized.py $(CASPER).pt $(CASPER)_unpruned.pt --figures-dir figures/specialization

LANGE = $(BIN)/python train.py --recipe lange --networks 3 --separate-batches

similarity: .venv/installed
	$(LANGE) --dropout 0,0.1,0.2,0.3,0.4,0.5,0.6,0.7 --save-dir mlp/lange_dropout --figures-dir figures/lange_dropout
	$(LANGE) --l2 1e-4,1e-3,1e-2 --save-dir mlp/lange_l2 --figures-dir figures/lange_l2
	$(LANGE) --l1 1e-5,1e-4,1e-3 --save-dir mlp/lange_l1 --figures-dir figures/lange_l1
	$(BIN)/python are_modules_upstream_downstream.py mlp/lange_dropout/mlp_mnist0123456789.pt \
		mlp/lange_l2/mlp_mnist0123456789.pt mlp/lange_l1/mlp_mnist0123456789.pt --figures-dir figures/similarity

PLANT = $(BIN)/python train.py --digits 0-9 --planted-groups 2 --leak 0,0.02,0.05,0.1,0.2,0.5,1 --early-stopping 6
SOFT = mlp/filan_clusterable/mlp_mnist0123456789

recovery: .venv/installed
	$(PLANT) --epochs 100 --hidden-layers 64,64,64 --networks 10 --separate-batches \
		--save-dir mlp/planted --figures-dir figures/planted
	$(BIN)/python are_modules_recovered.py mlp/planted/mlp_mnist0123456789.pt \
		--power candidates,clusterability,specialization,similarity --figures-dir figures/recovery
	$(PLANT) --epochs 25 --hidden-layers 16,16,16 --networks 50 --save-dir mlp/planted_16 --figures-dir figures/planted_16
	$(BIN)/python are_modules_recovered.py mlp/planted_16/mlp_mnist0123456789.pt \
		--definitions downstream --power candidates --figures-dir figures/recovery_16
	$(BIN)/python train.py --recipe filan --dropout 0 --init clusterable --networks 3 --separate-batches \
		--save-dir mlp/filan_clusterable --figures-dir figures/filan_clusterable
	$(BIN)/python are_modules_clusterable.py $(SOFT).pt $(SOFT)_unpruned.pt --figures-dir figures/recovery_clusterable
	$(BIN)/python are_modules_recovered.py $(SOFT).pt $(SOFT)_unpruned.pt --clusters 12 --definitions weights,activations \
		--figures-dir figures/recovery_clusterable

agreement: .venv/installed
	$(BIN)/python are_modules_recovered.py mlp/lange_dropout/mlp_mnist0123456789.pt --figures-dir figures/agreement

benchmark: .venv/installed
	$(BIN)/python benchmark.py

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(BIN)/python -m pip install -r tests/requirements.txt
	touch $@

.venv-oldest/installed: requirements.txt tests/requirements.txt tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install -r requirements.txt -r tests/requirements.txt -c tests/oldest.txt
	touch $@

clean:
	rm -rf .venv .venv-oldest
