"""The cells of the generated tables in Chinese; a text that is missing here stays English."""

CHINESE = {
    # headings and common cells
    "name": "名称",
    "units": "维度",
    "what it is": "说明",
    "needs": "需要",
    "key of the configuration": "配置项",
    "file": "文件",
    "size": "大小",
    "SHA-256": "SHA-256",
    "licence": "许可",
    "needed by": "用途",
    "nothing": "无",
    "not stated": "未注明",
    # encoders
    "ContentVec, layer 12; the default of 4.1": "ContentVec 第 12 层；4.1 的默认编码器",
    "ContentVec, layer 9 projected; every 4.0 model": "ContentVec 第 9 层（经投影）；所有 4.0 模型",
    "HuBERT soft units; models of 3.0": "HuBERT soft；3.0 的模型",
    "computed from the audio itself: nothing to download": "直接由音频计算，无需下载",
    "trained by us, in this repository: nothing to download": "由本项目训练，随仓库提供，无需下载",
    "encoder embedded (part of this repository)": "编码器 embedded（随仓库提供）",
    "Whisper medium, encoder output": "Whisper medium 的编码器输出",
    "Whisper large-v2, encoder output": "Whisper large-v2 的编码器输出",
    "Chinese HuBERT large": "中文 HuBERT large",
    "HuBERT base, distilled and pruned": "蒸馏并剪枝的 HuBERT base",
    "WavLM base+": "WavLM base+",
    "vec256l9 from an .onnx file": "vec256l9，读取 .onnx 文件",
    "ContentVec, layer 12 projected, from an .onnx file": "ContentVec 第 12 层（经投影），读取 .onnx 文件",
    "ContentVec, layer 9, from an .onnx file": "ContentVec 第 9 层，读取 .onnx 文件",
    "vec768l12 from an .onnx file": "vec768l12，读取 .onnx 文件",
    "hubertsoft from an .onnx file": "hubertsoft，读取 .onnx 文件",
    # f0 predictors
    "convolutional, slow on a CPU (weights in the package)": "卷积网络，CPU 上较慢（权重随软件包提供）",
    "Praat's autocorrelation, the fastest; an octave low in creaky voices": "Praat 自相关法，最快；气泡音会低八度",
    "WORLD, fast, sensitive to noise": "WORLD，快，对噪声敏感",
    "WORLD, slower, few gaps, calls much unvoiced sound voiced": "WORLD，较慢，断点少，常把清音当作浊音",
    "U-Net, the most robust to noise": "U-Net，抗噪最好",
    "network, fast; without the file the weights in the package torchfcpe serve": (
        "神经网络，快；没有此文件时使用 torchfcpe 自带的权重"
    ),
    "notes heard by SOME, pitch re-drawn by a DiffSinger voicebank (in pretrain/ds_enhance)": (
        "由 SOME 识别音符，再由 DiffSinger 声库重新生成音高（放在 pretrain/ds_enhance）"
    ),
    "what several of them agree on: fewest octave errors": "综合多个预测器，八度错误最少",
    # decoders and vocoders
    "leaky ReLU": "leaky ReLU 激活",
    "anti-aliased snake": "抗混叠的 snake 激活",
    "natural-log mel": "自然对数梅尔谱",
    "weights trained on log10 mel": "权重以 log10 梅尔谱训练",
    "filtered pulses and noise; natural-log mel": "经滤波的脉冲与噪声；自然对数梅尔谱",
    # pretrained files
    "encoders vec768l12 and vec256l9 (ContentVec as RVC ships it: the weights alone)": (
        "编码器 vec768l12 和 vec256l9（RVC 提供的 ContentVec，只含权重）"
    ),
    "the same encoders (ContentVec's whole training checkpoint)": "同上（ContentVec 的完整训练存档）",
    "encoder hubertsoft": "编码器 hubertsoft",
    "encoder whisper-ppg": "编码器 whisper-ppg",
    "encoder whisper-ppg-large": "编码器 whisper-ppg-large",
    "encoder cnhubertlarge": "编码器 cnhubertlarge",
    "encoder dphubert": "编码器 dphubert",
    "encoder wavlmbase+": "编码器 wavlmbase+",
    "encoder vec256l9-onnx": "编码器 vec256l9-onnx",
    "encoder vec256l12-onnx": "编码器 vec256l12-onnx",
    "encoder vec768l9-onnx": "编码器 vec768l9-onnx",
    "encoder vec768l12-onnx": "编码器 vec768l12-onnx",
    "encoder hubertsoft-onnx": "编码器 hubertsoft-onnx",
    "f0 predictor dspitch: hears the notes; a voicebank goes beside it, see docs/dspitch.md": (
        "f0 预测器 dspitch：识别音符；声库放在它旁边，见 docs/dspitch.md"
    ),
    "f0 predictor rmvpe": "f0 预测器 rmvpe",
    "f0 predictor rmvpe (the half-precision weights that RVC uses)": "f0 预测器 rmvpe（RVC 使用的半精度权重）",
    "f0 predictor rmvpe (the weights of the first 4.1 releases, superseded by rmvpe)": (
        "f0 预测器 rmvpe（早期 4.1 版的权重，已被 rmvpe 取代）"
    ),
    "other tools (RVC, MoeVoiceStudio)": "其他工具（RVC、MoeVoiceStudio）",
    "f0 predictor fcpe (without it the weights inside the package torchfcpe serve)": (
        "f0 预测器 fcpe（没有它时使用 torchfcpe 自带的权重）"
    ),
    "shallow diffusion, enhancer, preprocess_hubert_f0.py --use_diff": (
        "浅扩散、增强器、preprocess_hubert_f0.py --use_diff"
    ),
    "the same, newer weights: name it in vocoder.ckpt of diffusion.yaml": (
        "同上，较新的权重：在 diffusion.yaml 的 vocoder.ckpt 中指定"
    ),
    "the same, newest weights, formants kept when the pitch is shifted (--keyshift)": (
        "同上，最新权重，变调时保持共振峰（`--keyshift`）"
    ),
    "train.py with vec768l12: starts from it instead of from nothing": "train.py，vec768l12：训练的起点（底模）",
    "the discriminator that goes with base-g": "与 base-g 配套的判别器",
    "train.py with vec768l12 and --vol_aug": "train.py，vec768l12 加 --vol_aug",
    "the discriminator that goes with base-vol-g": "与 base-vol-g 配套的判别器",
    "train.py with vec768l12 (trained for 320,000 steps)": "train.py，vec768l12（已训练 320,000 步）",
    "the discriminator that goes with base-320k-g": "与 base-320k-g 配套的判别器",
    "train.py with vec256l9, hubertsoft, whisper-ppg or --tiny (G_0.pth and D_0.pth)": (
        "train.py，vec256l9、hubertsoft、whisper-ppg 或 --tiny（G_0.pth 与 D_0.pth）"
    ),
    "train.py with vec256l9, 4.0 layout (G_0.pth and D_0.pth)": "train.py，vec256l9，4.0 格式（G_0.pth 与 D_0.pth）",
    "train_diff.py with vec768l12": "train_diff.py，vec768l12",
    "train_diff.py with hubertsoft": "train_diff.py，hubertsoft",
    "other tools (RVC v2 training)": "其他工具（RVC v2 训练）",
}
