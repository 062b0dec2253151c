"""How voices are mixed along a song (-usm of inference_main.py). Data only.

``spk_mix_map`` holds, for each speaker id, segments ``[begin, end, from, to]``: over the part of the song from
``begin`` to ``end`` (0 is its start, 1 its end) the speaker's weight goes in a straight line from ``from`` to ``to``.
Every speaker of the model is there, and its segments follow one another without gap or overlap from 0 to 1; at each
moment the weights are divided by their sum. Timelines in seconds, and in files of their own: docs/mixing.md.
This fades from speaker 0 to speaker 1 in the first half, and stays there:

    spk_mix_map = {
        0: [[0.0, 0.5, 1.0, 0.0], [0.5, 1.0, 0.0, 0.0]],
        1: [[0.0, 0.5, 0.0, 1.0], [0.5, 1.0, 1.0, 1.0]],
    }
"""

spk_mix_map: dict[int, list[list[float]]] = {}
