// What a program sees by `import Graft`: this module's own types, and those of the method that need
// no pointer.

@_exported import struct GraftNetworks.Convolution
@_exported import struct GraftNetworks.DenseNet
@_exported import struct GraftNetworks.ImageNet
@_exported import struct GraftNetworks.ImageShape
@_exported import struct GraftNetworks.MobileNetV2
@_exported import class GraftNetworks.Network
@_exported import struct GraftNetworks.OperationDescription
@_exported import struct GraftNetworks.Pooling
@_exported import class GraftNetworks.Predictor
@_exported import struct GraftNetworks.ResNeXt
@_exported import struct GraftNetworks.ResNet
@_exported import struct GraftNetworks.VGG
@_exported import struct GraftNetworks.WideResNet
@_exported import struct GraftSupport.GraftError
@_exported import class GraftTraining.SGD
@_exported import struct Grafting.GraftOperator
@_exported import struct Grafting.GraftPlan
@_exported import struct Grafting.GraftReport
@_exported import struct Grafting.Period
@_exported import enum Grafting.Source
@_exported import enum Grafting.Weighting
