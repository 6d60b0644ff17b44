"""What was tried for each kind of goal, as the commits that did it say: bench.py prints it where a row of the kind is below its goal."""
HOST = ("little launches in the calling thread, with nothing to hand over (recording a 16 x 16 add 3.2 to 2.3 us, with its launch 14.2 to 8.5); layouts "
        "worked out once per shapes and strides (a broadcast flush 5 us less). Both in use.")
START = ("other processes compile while the program goes on (a ResNet 13.9 to 7.5 s, a GPT 12.5 to 7.0), the declarations that a program calls in place of "
         "clang's header (75 ms a program), the longest first, helpers with one thread of NumPy's and without that header (5.3 to 5.1). In use. The rest is "
         "the compiler's: 30 programs, 9 s of one processor.")
PRODUCTS = ("blocks of b next to each other, k in blocks of 256 in place of 128, whole tiles written as vectors (median GFLOP/s of 64 x 512 x 512 from 69 to"
            " 98, of 256^3 from 90 to 98), rows of a transposed a copied as vectors, 32 rows of tiles by four panels for a work-item (4096: 149 to 215 "
            "GFLOP/s), a transposed b turned in squares of vectors by who needs it (64 of 128 1.2, 64 x 512 x 784 1.3 times as fast), shares by an estimate "
            "in cycles (a transposed a of 128 columns 1.5), large operands packed once for all where vectors have 32 bytes (2048 155 to 178 GFLOP/s, of a "
            "transposed a 142 to 179), more rows for an item there (1 %), columns copied eight rows at a time, up to 192 tiles an item (a gradient of "
            "weights 150 to 160), four steps a turn (1 to 2 %), squares also where six rows are packed (1024: 0.5 %), the next product's operands read ahead"
            " in a batch (64 of 128 1.95 to 1.82 ms, with gradients 7.4 to 6.0), b's rows asked for where they are packed (1024: 1 %): in use. Other tiles, "
            "deeper blocks, reading b's next block ahead and larger pages: no gain. Reading a's next rows ahead: 0 to 1 %.")
POINTWISE = ("results of 48 MiB and more past the caches (copy 6.6 to 5.1 ms, mul 8.5 to 7.8, cat 6.7 to 3.9; exp, tanh, silu the same), shorter formulas, "
             "eight vectors a turn (exp 8.3 to 5.7 ms, to half 8.9 to 4.0), vectors of 512 bits where there are such (gelu 4.0 to 2.7), float16 rounded "
             "by the processor's instruction (5.0 to 2.8), once where only memory sees it (3.3 to 2.5), stores past the caches in whole vectors in place "
             "of eight bytes (gelu 5.3 to 4.2, silu 5.0 to 3.3, add 5.7 to 4.8, copy 3.4 to 3.0), the next block's lines asked for while one is stored, "
             "and smaller results past the caches where much is read (to half 2.5 to 2.2, add 4.7 to 4.5, a chain 4.7 to 4.5): in use. Two, four, eight "
             "streams where something is written, other blocks: no gain. Sums of two arrays with vectors of 512 bits: half as fast.")
RANDOM = "library functions inlined and Philox's rounds written out: numbers are drawn in vectors (randn 0.5 to 2.2 x PyTorch, rand 1.4 to 7.4). In use."
REDUCTIONS = ("four streams a run, short rows four at a time (all of 16 M floats 2.4 to 1.8 ms at best, rows of 1024 2.5 to 2.0), four vectors a load (10 to "
              "20 % less), columns four rows at a time (4096 of them 4.0 to 3.1 ms). In use.")
ROWS = ("lanes in registers, exponentials interleaved (4096 rows of 1024: log_softmax 6.3 to 4.6 ms, its gradient 5.5 to 3.3, softmax 5.2 to 4.1, its "
        "gradient 3.2 to 2.5, cross_entropy 5.1 to 4.1), vectors of 512 bits where there are such (softmax 0.90 to 0.71 ms, cross_entropy with "
        "gradient 1.42 to 1.06), lanes joined without variable lengths (layer_norm of 512 rows of 128 44 to 35 us), then "
        "kept in registers (layer_norm of 4096 rows of 128 158 to 105 us, its gradient 152 to 104, softmax of 2048 rows of 32 143 to 112). In use.")
MOVES = ("gather reads in the launch that checks the indices, 64 of them at a time (5.0 to 3.5 ms), rows move with 64-bit places (take of 4096 rows 1.5 to "
         "1.2 ms), transposed copies go tile by tile, gather's next row is read ahead (2.6 to 1.3). In use.")
EMBEDDING = ("the gradient is summed in the order of sorted indices, so that it is the same on every run. gather's needs no sorting any more (140 to 10 ms). "
             "Reading the next row ahead, and blocks of 512 columns: no gain.")
SCANS = "blocks of a row are scanned as vectors, one plain loop adds what came before (5.6 to 1.7 ms). In use."
SORTING = "top k asks 16 elements at a time whether one is good enough (13.6 to 10.2 ms of processor time). In use."
CONVOLUTIONS = ("windows copied in vectors, taps counted without divisions; eight sums in registers for the gradient of weights (16 x 64 x 32 x 32 to 64 "
                "channels 37.6 to 20.5 ms), then lanes across rows for it (4.6 to 3.0), Winograd's method for 3 x 3 (10.8 to 4.7 ms), windows of a stride "
                "of 2 read once for both of their columns (2.84 to 2.33, 1.03 to 0.94). In use. A window's rows channel by channel: slower.")
POOLING = "one plain loop over 64 windows for each of a window's places (max 2 x 2 6.8 to 1.2 ms of processor time, avg 1.4 to 1.1). In use."
ATTENTION = ("one kernel forward and one for the gradients, no matrix of scores, blocks that a causal row doesn't see skipped ((8, 8, 256, 64): 0.67 to "
             "1.53 x PyTorch, with gradients 1.30 to 2.45); results in the operands' order in memory; operands turned in registers, tiles of 8 rows and "
             "exponentials in vectors of 512 bits where there are such (8 x 4 heads of 64 x 32 with gradients 520 to 385 us); powers of 2 in place of "
             "exponentials (of them again 464 to 433). In use. The next head's rows read ahead: no gain.")
STEPS = ("a graph's launches as one (MLP 1.17 to 1.43 x PyTorch, ResNet 1.10 to 1.30, GPT 1.15 to 1.40, CNN 1.53 to 1.59), little launches in the calling "
         "thread (the tutorial's eager step 680 to 570 us), cross entropy's plan and a node's savings made once (290 to 250 us), attention without copies of "
         "heads (GPT 25.5 to 23.1 ms, compiled 19.5 to 17.9), gelu's gradient by one power (behind a product 590 to 523 us), built-in functions inlined on "
         "a Zen 3 (ResNet compiled 10.6 to 9.9 ms), updates in place where they were (ResNet 1 %), attention's scores to base 2, its gradients as the "
         "operands lie, a graph's tensors looked at in one loop (GPT 1.5 %), every second thread from the end (GPT 2 %, ResNet "
         "1.5 %). In use. Without Python's garbage collector, small products' operands packed "
         "or their next panels read ahead or together, joined launches that wait only for what they build on, in this order or in others (0 to 0.5 %), "
         "more of them in one: no gain.")
