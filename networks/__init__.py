"""What transformers does not have: small `PreTrainedModel`s of our own.

`import networks` makes them known to transformers' Auto classes, and is all that opens a saved one again; in an
installed copy `import cloze` finds it:

    import cloze, networks
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("runs/lstm-mini/model")
"""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from networks.alexnet import AlexNetBackbone, AlexNetConfig, AlexNetModel
from networks.colorization import ForColorization
from networks.elmo import ElmoConfig, ElmoForPreTraining, ElmoModel
from networks.elmo_tasks import ElmoForSequenceClassification, ElmoForTokenClassification
from networks.lstm import LSTMConfig, LSTMForCausalLM, LSTMModel
from networks.relative_position import RelativePositionModel
from networks.resnet_gn import ResNetGNBackbone, ResNetGNConfig, ResNetGNModel
from networks.word_vector_tasks import WordVectorsForSequenceClassification
from networks.word_vectors import WordVectors, WordVectorsConfig

AutoConfig.register(LSTMConfig.model_type, LSTMConfig)
AutoModel.register(LSTMConfig, LSTMModel)
AutoModelForCausalLM.register(LSTMConfig, LSTMForCausalLM)
AutoConfig.register(WordVectorsConfig.model_type, WordVectorsConfig)
AutoModel.register(WordVectorsConfig, WordVectors)
AutoModelForSequenceClassification.register(WordVectorsConfig, WordVectorsForSequenceClassification)

AutoConfig.register(ElmoConfig.model_type, ElmoConfig)
AutoModel.register(ElmoConfig, ElmoModel)
AutoModelForPreTraining.register(ElmoConfig, ElmoForPreTraining)
AutoModelForSequenceClassification.register(ElmoConfig, ElmoForSequenceClassification)
AutoModelForTokenClassification.register(ElmoConfig, ElmoForTokenClassification)

AutoConfig.register(ResNetGNConfig.model_type, ResNetGNConfig)
AutoModel.register(ResNetGNConfig, ResNetGNModel)
AutoBackbone.register(ResNetGNConfig, ResNetGNBackbone)
AutoConfig.register(AlexNetConfig.model_type, AlexNetConfig)
AutoModel.register(AlexNetConfig, AlexNetModel)
AutoBackbone.register(AlexNetConfig, AlexNetBackbone)

MODEL_TYPES = tuple(
    config.model_type for config in (LSTMConfig, WordVectorsConfig, ElmoConfig, ResNetGNConfig, AlexNetConfig)
)
# Trunks with the head of a pretext task, found here by their names
PRETEXT_MODELS = (ForColorization, RelativePositionModel)
