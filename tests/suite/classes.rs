//! Every class of page, at every level, in every generation of kernels.

use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

use crate::common::Bench;

fn all_levels(style: KernelStyle) {
    let bench = Bench::new(zoo(style).build());
    for level in 0..32 {
        bench.check::<&str>(level, &[]);
    }
}

macro_rules! styles {
    ($($name:ident $style:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                all_levels(KernelStyle::$style);
            }
        )*
    };
}

styles! {
    kernel_2_6_24 V2_6_24,
    kernel_3_10 V3_10,
    kernel_3_16 V3_16,
    kernel_4_4 V4_4,
    kernel_4_6 V4_6,
    kernel_4_16 V4_16,
    kernel_4_18 V4_18,
    kernel_5_1 V5_1,
    kernel_5_10 V5_10,
    kernel_6_3 V6_3,
    kernel_6_6 V6_6,
    kernel_6_9 V6_9,
    kernel_6_10 V6_10,
    kernel_6_12 V6_12,
    kernel_7_1 V7_1,
}
