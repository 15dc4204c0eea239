"""mmcv's operators without a compiler: torch's own functions, and torchvision's operators for CPU and CUDA.

Each function has the name and the arguments that `mmcv.ops` calls in its compiled extension: it writes into
tensors that it is given. `OPERATORS` has them all; they compute in float32, or in float64 if given that, for
some of torchvision's know no bfloat16. "Reference" in a docstring is mmcv's own source below `mmcv/ops/csrc`.
"""

from distill.models.operators import (
    carafe,
    deform_attention,
    deform_conv,
    focal_loss,
    masked_conv,
    roi_align,
    roi_pool,
    suppression,
)

OPERATORS = {
    function.__name__: function
    for function in (
        carafe.carafe_backward,
        carafe.carafe_forward,
        carafe.carafe_naive_backward,
        carafe.carafe_naive_forward,
        deform_attention.ms_deform_attn_backward,
        deform_attention.ms_deform_attn_forward,
        deform_conv.deform_conv_backward_input,
        deform_conv.deform_conv_backward_parameters,
        deform_conv.deform_conv_forward,
        deform_conv.modulated_deform_conv_backward,
        deform_conv.modulated_deform_conv_forward,
        focal_loss.sigmoid_focal_loss_backward,
        focal_loss.sigmoid_focal_loss_forward,
        focal_loss.softmax_focal_loss_backward,
        focal_loss.softmax_focal_loss_forward,
        masked_conv.masked_col2im_forward,
        masked_conv.masked_im2col_forward,
        roi_align.roi_align_backward,
        roi_align.roi_align_forward,
        roi_pool.roi_pool_backward,
        roi_pool.roi_pool_forward,
        suppression.nms,
        suppression.nms_match,
        suppression.softnms,
    )
}
