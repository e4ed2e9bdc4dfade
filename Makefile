# make                 set up and reproduce the first figures of the README
# make test            set up and run the tests, but for the long reproductions
# make test-all        all tests, the long reproductions too
# make test-oldest     the tests with the oldest packages that requirements.txt allows, on Python 3.10 to 3.12
# make evidence        the experiment over 100 networks (make hundred), and over 200 others: does it survive a control?
# make clusterability  are the weights made of clusters?  trains and analyses the networks of Filan et al.
# make specialization  are clusters of neurons specialised?  trains and analyses the networks of Casper et al., which are
#                      those of Filan et al. without dropout
# make similarity      do neurons see alike, or act alike?  trains and analyses the networks of Lange et al.
# make recovery        do these methods find modules that are known to be there?  plants some, and looks
# make agreement       do the definitions agree on networks of `make similarity`, which must be there?
# make images          does it hold for other images?  Fashion-MNIST, and images of two halves
# make convolutions    does it hold for networks of convolutions?
# make benchmark       how fast all this is, side by side with the obvious ways
# make cluster         what a Dask cluster costs and gains, with workers on this machine

PYTHON ?= python3
BIN = .venv/bin
OLDEST = .venv-oldest/bin

.PHONY: figures centralities ablation test test-long test-all test-oldest
.PHONY: evidence clusterability specialization similarity recovery agreement images convolutions benchmark cluster
.PHONY: hundred filan
.PHONY: clean

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

CANDIDATES = $(BIN)/python are_modules_indegree_nobetween.py
MNIST357 = mlp_mnist357.pt

hundred: .venv/installed
	$(BIN)/python train.py --networks 100 --save-dir mlp/100_networks --figures-dir figures/100_networks
	$(CANDIDATES) mlp/100_networks/$(MNIST357) --figures-dir figures/100_networks

evidence: hundred
	$(BIN)/python train.py --networks 200 --seed 1000 --save-dir mlp/200_networks --figures-dir figures/200_networks
	$(CANDIDATES) mlp/200_networks/$(MNIST357) --figures-dir figures/200_networks
	$(CANDIDATES) mlp/200_networks/$(MNIST357) --ablate-to mean --figures-dir figures/200_networks_mean
	$(CANDIDATES) mlp/200_networks/$(MNIST357) --rescale --figures-dir figures/200_networks_rescaled

SEPARATELY = $(BIN)/python train.py --separate-batches
FILES = $(foreach net,$(1),mlp/$(net)/$(or $(3),mlp_mnist)0123456789$(2).pt)
CLUSTERABLE = $(BIN)/python are_modules_clusterable.py
DROPOUT_OR_NOT = filan_dropout filan
FOUR = $(DROPOUT_OR_NOT) filan_l1 filan_l2

filan: .venv/installed
	$(SEPARATELY) --recipe filan --dropout 0 --networks 10 --save-dir mlp/filan --figures-dir figures/filan

clusterability: filan
	$(SEPARATELY) --recipe filan --networks 10 --save-dir mlp/filan_dropout --figures-dir figures/filan_dropout
	$(SEPARATELY) --recipe filan --dropout 0 --l1 5e-5 --networks 10 --save-dir mlp/filan_l1 --figures-dir figures/filan_l1
	$(SEPARATELY) --recipe filan --dropout 0 --l2 5e-5 --networks 10 --save-dir mlp/filan_l2 --figures-dir figures/filan_l2
	$(CLUSTERABLE) $(call FILES,$(FOUR)) $(call FILES,$(FOUR),_unpruned) --shuffles 20 --figures-dir figures/clusterability
	$(CLUSTERABLE) $(call FILES,filan_l2) $(call FILES,filan_l2,_unpruned) --shuffles 20 --figures-dir figures/clusterability_l2
	$(CLUSTERABLE) $(call FILES,$(DROPOUT_OR_NOT)) $(call FILES,$(DROPOUT_OR_NOT),_unpruned) --shuffles 20 --clusters 4 \
		--figures-dir figures/clusterability_4
	$(CLUSTERABLE) $(call FILES,$(FOUR)) $(call FILES,$(DROPOUT_OR_NOT),_unpruned) --shuffles 20 --rescale \
		--figures-dir figures/clusterability_rescaled
	$(CLUSTERABLE) $(call FILES,$(DROPOUT_OR_NOT)) --shuffles 20 --lesions --figures-dir figures/lesions

specialization: filan
	$(BIN)/python are_modules_specialized.py $(call FILES,filan) $(call FILES,filan,_unpruned) \
		--figures-dir figures/specialization

LANGE = $(SEPARATELY) --recipe lange --networks 10
RATES = --dropout 0,0.2,0.5,0.7
ALIKE = $(BIN)/python are_modules_upstream_downstream.py

similarity: .venv/installed
	$(LANGE) $(RATES) --save-dir mlp/lange_dropout --figures-dir figures/lange_dropout
	$(LANGE) --l2 1e-3,1e-2 --save-dir mlp/lange_l2 --figures-dir figures/lange_l2
	$(LANGE) --l1 1e-4,1e-3 --save-dir mlp/lange_l1 --figures-dir figures/lange_l1
	$(ALIKE) $(call FILES,lange_dropout lange_l2 lange_l1) --figures-dir figures/similarity
	$(SEPARATELY) --digits 0-9 --hidden-layers 64,64 --epochs 40 --batch-size 200 --l2 1e-5 --networks 10 $(RATES) \
		--save-dir mlp/lange_fixed --figures-dir figures/lange_fixed
	$(ALIKE) $(call FILES,lange_fixed) --figures-dir figures/similarity_fixed

PLANT = $(BIN)/python train.py --digits 0-9 --planted-groups 2 --leak 0,0.02,0.05,0.1,0.2,0.5,1 --early-stopping 6
SOFT = mlp/filan_clusterable/mlp_mnist0123456789

recovery: .venv/installed
	$(PLANT) --epochs 100 --hidden-layers 64,64,64 --networks 10 --separate-batches \
		--save-dir mlp/planted --figures-dir figures/planted
	$(BIN)/python are_modules_recovered.py mlp/planted/mlp_mnist0123456789.pt \
		--power candidates,clusterability,specialization,similarity --figures-dir figures/recovery
	$(BIN)/python are_modules_specialized.py mlp/planted/mlp_mnist0123456789.pt --figures-dir figures/recovery_specialization
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

ON = $(BIN)/python train.py --separate-batches --recipe filan --dataset
FOUR_OF = filan_$(1)_dropout filan_$(1) filan_$(1)_l1 filan_$(1)_l2
BOTH = $(call FILES,$(1),,$(2)) $(call FILES,$(1),_unpruned,$(2))

images: .venv/installed
	$(ON) fashion --networks 10 --save-dir mlp/filan_fashion_dropout --figures-dir figures/filan_fashion_dropout
	$(ON) fashion --dropout 0 --networks 10 --save-dir mlp/filan_fashion --figures-dir figures/filan_fashion
	$(ON) fashion --dropout 0 --l1 5e-5 --networks 5 --save-dir mlp/filan_fashion_l1 --figures-dir figures/filan_fashion_l1
	$(ON) fashion --dropout 0 --l2 5e-5 --networks 5 --save-dir mlp/filan_fashion_l2 --figures-dir figures/filan_fashion_l2
	$(CLUSTERABLE) $(call BOTH,$(call FOUR_OF,fashion),mlp_fashion) --shuffles 20 --figures-dir figures/clusterability_fashion
	$(CLUSTERABLE) $(call BOTH,filan_fashion_l2,mlp_fashion) --shuffles 20 --figures-dir figures/clusterability_fashion_l2
	$(CLUSTERABLE) $(call FILES,filan_fashion_dropout filan_fashion,,mlp_fashion) --shuffles 20 --rescale \
		--figures-dir figures/clusterability_fashion_rescaled
	$(ON) halves --networks 5 --save-dir mlp/filan_halves_dropout --figures-dir figures/filan_halves_dropout
	$(ON) halves --dropout 0 --networks 5 --save-dir mlp/filan_halves --figures-dir figures/filan_halves
	$(ON) halves --dropout 0 --l1 5e-5 --networks 5 --save-dir mlp/filan_halves_l1 --figures-dir figures/filan_halves_l1
	$(ON) halves --dropout 0 --l2 5e-5 --networks 5 --save-dir mlp/filan_halves_l2 --figures-dir figures/filan_halves_l2
	$(CLUSTERABLE) $(call BOTH,$(call FOUR_OF,halves),mlp_halves) --shuffles 20 --figures-dir figures/clusterability_halves
	$(CLUSTERABLE) $(call BOTH,filan_halves_l2,mlp_halves) --shuffles 20 --figures-dir figures/clusterability_halves_l2
	$(ON) halves-same --dropout 0 --networks 5 --save-dir mlp/filan_halves_same --figures-dir figures/filan_halves_same
	$(CLUSTERABLE) $(call BOTH,filan_halves_same,mlp_halves-same) --shuffles 20 \
		--figures-dir figures/clusterability_halves_same
	$(BIN)/python train.py --dataset fashion --networks 100 --save-dir mlp/100_fashion --figures-dir figures/100_fashion
	$(CANDIDATES) mlp/100_fashion/mlp_fashion357.pt --figures-dir figures/100_fashion
	$(CANDIDATES) mlp/100_fashion/mlp_fashion357.pt --ablate-to mean --figures-dir figures/100_fashion_mean

CNN = $(BIN)/python train.py --separate-batches --recipe filan-cnn --epochs 2 --pruning-epochs 2
CNNS = $(call BOTH,cnn,cnn_mnist)

convolutions: .venv/installed
	$(CNN) --networks 10 --save-dir mlp/cnn --figures-dir figures/cnn
	$(CLUSTERABLE) $(CNNS) --figures-dir figures/clusterability_cnn
	$(CLUSTERABLE) $(CNNS) --kernel-norm column --figures-dir figures/clusterability_cnn_column

benchmark: .venv/installed
	$(BIN)/python benchmark.py

cluster: .venv/installed-cluster
	$(BIN)/python benchmark_cluster.py

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

.venv/installed-cluster: .venv/installed requirements-cluster.txt
	$(BIN)/python -m pip install -r requirements-cluster.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt requirements-cluster.txt
	$(BIN)/python -m pip install -r tests/requirements.txt
	touch $@

.venv-oldest/installed: requirements.txt tests/requirements.txt requirements-cluster.txt tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install -r requirements.txt -r tests/requirements.txt -c tests/oldest.txt
	touch $@

clean:
	rm -rf .venv .venv-oldest unfinished
