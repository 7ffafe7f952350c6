"""A linear classifier of scikit-learn as a trainer: imagestudy run --trainer docs/examples/sgd_classifier.py:SGD"""

import numpy as np
from sklearn.linear_model import SGDClassifier


class SGD:
    def __init__(self, recipe, train, spec):
        self.recipe, self.train, self.classes = recipe, train, np.arange(spec.num_classes)
        self.model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=recipe.lr, random_state=recipe.seed)

    def __iter__(self):
        for _ in range(self.recipe.epochs):
            self.model.partial_fit(self._features(self.train.images), self.train.labels, classes=self.classes)
            yield  # the suite measures with predict

    def predict(self, images):
        return self.model.predict_proba(self._features(images))

    def _features(self, images):
        return images.reshape(len(images), -1) / 127.5 - 1
